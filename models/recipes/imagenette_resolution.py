"""Make the package imagenette-resolution again from nothing but the pretrained backbone.

    python -m models.recipes.imagenette_resolution [--phase PHASE] [--work DIR] [--package DIR]

Phases: train, export, calibrate, time, card; without one, all of them run in this order. OFFRAMP_DATA names the folder
of the data.
"""

import json
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from models import baselines, export, half, package
from models.calibration.climbing import KNOTS, Seen, fit_climbing
from models.calibration.gain_maps import expected_correctness
from models.calibration.temperature import fit_temperature
from models.calibration.walks import menu
from models.data import imagenette
from models.data.imagenette import Photos
from models.export import GraphStage
from models.findings import StaticNet
from models.macs import macs_per_row
from models.nets.fold import folded
from models.nets.looks import Sized
from models.recipes.looking import GRAPH, SIZES, Arrays, LookRecipe, backbone, entry, split, static_net
from models.training.climb import fit_heads, fit_shares
from models.training.looks import kept, seen, whole
from service.package.graph import StageGraph
from service.package.load import Package, load
from service.routing.early_exit import softmax

BINS = 16
CLIMB = {size: SIZES.index(size) for size in (96, 160, 224)}
"""Sizes that walks go by, with their heads. 128 has a head to compare with; as a step it bought less than 160 did."""
NAMES = tuple(f"look{size}" for size in CLIMB)
WORDS = f"""Looks at the whole photo at {", ".join(str(size) for size in CLIMB)} pixels, by one network. After
each look the answer stands; while it is unsure, the walk climbs (RANet, CVPR 2020) to any of the larger sizes, in
steps or straight to the top (DRNet, NeurIPS 2021, predicts the size from a first look; here the table of the router
does, from the calibrated score, by backward induction). Each size has a head of its own, and is handed the logits that
stood before, of which it adds a learned share. One graph file, of any height and width, serves all sizes. A JPEG is
decoded at the scale that the size asks for. The full walk takes all three looks, which no static net would do: hold
this package against the static net at 224 px, not against its own full walk."""
TRAINING = """The backbone stays as it is: only the heads were trained, on features of the 900 training photos that
were computed once, and the shares of what stood before, on the router split: {shares}. (Trained with the heads, on
photos that these know, the shares came out near 0.3, and cost a point at 224 px. What is seen at both sizes counts a
little less than what only the larger one shows: hence the minus.)

What the hand-up brings, on devtest, with every photo sent along one way: {table}

What loses, and why: nothing at equal compute, down to the first look. But a walk that goes to 224 px costs more than
the static net there, by the looks before it, and what those saw is hardly any help (their share is small): for a
stream of hard photos alone the static net is cheaper. Norms measured again at 96 px were tried (DRNet has norms per
resolution): the linear probe fell from 86 to 74 %.

Not here: norms per resolution (their kernels would fold to another graph for each size, four times the bytes), and a
backbone fine-tuned for small photos, the first thing to try with more than minutes of two shared cores: at 96 px it is
right for {smallest} %, and nets that learned at such sizes do better."""


class ResolutionRecipe(LookRecipe):
    """Climbing from the smallest copy of a photo to larger ones."""

    def train(self, work: Path) -> None:
        """See `LookRecipe.train`."""
        start, (body, weight, bias) = perf_counter(), backbone()
        half.round_weights(body).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        net = Sized(body, SIZES, len(bias))
        with torch.no_grad():
            net.weight.copy_(weight.T.expand_as(net.weight))
            net.bias.copy_(bias.expand_as(net.bias))
        for name in ("train", "router"):
            photos = split(name)
            pixels = photos.pixels()
            features = {
                size: kept(work / f"f{size}_{name}.pt", lambda at=size, of=pixels: seen(body, whole(of, at)))
                for size in SIZES
            }
            labels = torch.from_numpy(photos.labels)
            if name == "train":
                fit_heads(net, features, labels, SIZES)
            else:
                fit_shares(net, features, labels, CLIMB)
        heads = {name: value.detach() for name, value in net.named_parameters() if not name.startswith("backbone")}
        torch.save(heads, work / "heads.pt")
        (work / "trained.json").write_text(json.dumps({"seconds": perf_counter() - start}))

    def net(self, work: Path) -> GraphStage:
        """See `LookRecipe.net`."""
        made = Sized(backbone()[0], SIZES, len(split("train").classes))
        made.load_state_dict(torch.load(work / "heads.pt", weights_only=True), strict=False)
        small = half.round_weights(folded(made))
        assert isinstance(small, GraphStage)
        return small

    def zeros(self, rows: int) -> Arrays:
        """See `LookRecipe.zeros`."""
        return {"evidence": np.zeros((rows, 10), np.float32)}

    def looks(self, photos: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """See `LookRecipe.looks`."""
        return [whole(photos, size) for size in SIZES]

    def carried(self, made: Arrays) -> Arrays:
        """See `LookRecipe.carried`."""
        return {"evidence": made["kept"]}

    def entries(self, folder: Path) -> list[dict[str, Any]]:
        """See `LookRecipe.entries`."""
        roles = {"kept": {"state": "evidence"}}
        return [
            entry(folder, name, {"glimpse": "image", "height": size, "width": size}, roles, NAMES[place + 1 :])
            for place, (name, size) in enumerate(zip(NAMES, CLIMB, strict=True))
        ]

    def fitted(self, work: Path, folder: Path) -> tuple[Arrays, NDArray[np.float64]]:
        """See `LookRecipe.fitted`."""
        photos = split("router")
        logits = ways(climbed(alone(folder, photos)), self._shares(work))
        graph = StageGraph(
            names=NAMES,
            macs=tuple(made["macs_per_row"] for made in self.entries(folder)),
            after=tuple(tuple(range(place + 1, len(NAMES))) for place in range(len(NAMES))),
            exits=NAMES,
            exit_of=tuple(range(len(NAMES))),
            full_macs=0,
        )
        at = {place: (0,) if place == 0 else (0, place) for place in range(len(NAMES))}
        temperature = np.array([fit_temperature(logits[at[place]], photos.labels) for place in at], np.float32)
        answers = {way: softmax((told / temperature[way[-1]]).astype(np.float32)) for way, told in logits.items()}
        best = answers[tuple(range(len(NAMES)))]
        told = {
            way: Seen(answer.max(axis=1), expected_correctness(best, answer.argmax(axis=1)[:, None])[:, 0])
            for way, answer in answers.items()
        }
        found = fit_climbing(told, graph, BINS)
        tables = {
            "temperature": temperature,
            "score_edges": found.edges,
            "knot_prices": KNOTS,
            "choice": found.choice,
            "leave_price": found.leave_price,
        }
        turning = np.concatenate([found.leave_price[np.isfinite(found.leave_price)], KNOTS[1::3]])
        return tables, menu(turning)

    def fixed_ways(self, work: Path, found: Package, devtest: Photos, ms: Mapping[str, float]) -> list[StaticNet]:
        """See `LookRecipe.fixed_ways`."""
        logits = ways(climbed(self._alone_on_devtest(work, found)), self._shares(work))
        return [
            static_net(
                " + ".join(NAMES[place] for place in way),
                sum(found.graph.macs[place] for place in way),
                told.argmax(axis=1) == devtest.labels,
                sum(ms[NAMES[place]] for place in way),
            )
            for way, told in sorted(logits.items())
        ]

    def told(self, work: Path, found: Package) -> str:
        """See `LookRecipe.told`."""
        devtest, shares = imagenette.load("devtest"), self._shares(work)
        single = self._alone_on_devtest(work, found)
        right = [float((told.argmax(axis=1) == devtest.labels).mean()) for told in single]
        handed = ways(climbed(single), shares)
        table = "; ".join(
            f"{size} px alone {right[head]:.2%}, "
            f"after 96 px {(handed[0, place].argmax(1) == devtest.labels).mean():.2%}"
            for place, (size, head) in enumerate(CLIMB.items())
            if place
        )
        words = ", ".join(f"{share:+.2f} at {size} px" for size, share in zip(CLIMB, shares, strict=True) if size > 96)
        return TRAINING.format(shares=words, table=table, smallest=f"{right[0] * 100:.1f}")

    def calibrate(self, work: Path, folder: Path) -> None:
        """See `LookRecipe.calibrate`; the static nets as well."""
        super().calibrate(work, folder)
        devtest, found = imagenette.load("devtest"), load(folder)
        model, single = onnx.load(folder / GRAPH), self._alone_on_devtest(work, found)
        nets = [
            {
                "name": f"{size} px",
                "macs": macs_per_row(model, {"image": (size, size, 3)}),
                "right": int((told.argmax(axis=1) == devtest.labels).sum()),
                "of": len(devtest),
            }
            for size, told in zip(SIZES, single, strict=True)
        ]
        what = "imagenette-resolution's backbone and heads at one resolution for every photo, on devtest"
        baselines.IMAGENETTE.write_text(json.dumps({"what": what, "nets": nets}, indent=1) + "\n")

    def _alone_on_devtest(self, work: Path, found: Package) -> list[NDArray[np.float32]]:
        """What each size says of devtest with nothing before it; computed once."""
        file = work / "alone.npy"
        if not file.exists():
            np.save(file, np.stack(alone(found.path, imagenette.load("devtest"))))
        return list(np.load(file))

    def _shares(self, work: Path) -> NDArray[np.float32]:
        """The share of what stood before that each size of the climb adds, float32."""
        trust: torch.Tensor = torch.load(work / "heads.pt", weights_only=True)["trust"]
        return trust.numpy()[list(CLIMB.values()), 0]


def climbed(single: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Of what all sizes say, that of those that walks go by."""
    return [single[head] for head in CLIMB.values()]


def alone(folder: Path, photos: Photos) -> list[NDArray[np.float32]]:
    """What each size says with nothing before it: logits [n, classes] by size."""
    graph, pixels = export.session(folder / GRAPH), photos.pixels()
    nothing = np.zeros((50, len(photos.classes)), np.float32)
    return [
        np.concatenate(
            [
                export.run(graph, {"image": whole(some, size), "evidence": nothing[: len(some)]})["logits"]
                for some in np.split(pixels, range(50, len(pixels), 50))
            ]
        )
        for size in SIZES
    ]


def ways(single: list[NDArray[np.float32]], shares: NDArray[np.float32]) -> dict[tuple[int, ...], NDArray[np.float32]]:
    """Logits at the end of every way that begins at the smallest size: a look adds a share of what stood before."""
    found = {}
    for count in range(len(single)):
        for later in combinations(range(1, len(single)), count):
            logits = single[0]
            for place in later:
                logits = single[place] + shares[place] * logits
            found[(0, *later)] = logits
    return found


RECIPE = ResolutionRecipe(
    module="models.recipes.imagenette_resolution",
    title=package.Title(
        name="imagenette-resolution",
        version="1.0.0",
        modality="image",
        task="classification",
        family="dynamic-resolution",
        router="resolution",
        description="Ten classes of photos (Imagenette): a look at 96 pixels, then at more of them while it is unsure.",
        zeros=("evidence",),
    ),
    words=WORDS,
)


if __name__ == "__main__":
    RECIPE.main()
