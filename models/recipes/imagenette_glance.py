"""Make the package imagenette-glance again from nothing but the pretrained backbone.

    python -m models.recipes.imagenette_glance [--phase PHASE] [--work DIR] [--package DIR]

Phases: train, export, calibrate, time, card; without one, all of them run in this order. OFFRAMP_DATA names the folder
of the data.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models import export, half, package
from models.calibrate import fit_router, router_arrays
from models.calibration.walks import price_path
from models.data import imagenette
from models.data.imagenette import Photos
from models.export import GraphStage
from models.findings import StaticNet
from models.nets.fold import folded
from models.nets.lite import LiteNet
from models.nets.looks import Focus
from models.recipes.looking import GRAPH, Arrays, LookRecipe, backbone, entry, split, static_net
from models.training.focus import Looked, fit_heads, fit_policy, margins
from models.training.looks import candidates, crops, kept, maps, seen, whole
from service.package.load import Package
from service.routing.glance import OVERLAP, overlaps, ranked

SIZE = 96
LAPS = 3
SHARES = (0.5, 0.7)
BOXES = candidates(5, SHARES)
SHOWN = {"train": 16, "router": 10}
"""Candidate crops of each photo that were looked at to learn from."""
MIDDLE = [float(edge) for edge in (0.15, 0.15, 0.85, 0.85)]

STATES = {"evidence": 10, "looks": 1, "where": len(BOXES)}
"""Sizes of the states, all 0 at first."""
CARRIED = {"told": "evidence", "looked": "looks", "ranking": "where"}
"""States by the graph's output that renews them."""

WORDS = f"""A glance at the whole photo at {SIZE} pixels, then up to {LAPS} looks at crops of the full photo, also at
{SIZE} pixels: after each the answer stands, and the walk goes on while that is worth its price (RAM, NeurIPS 2014;
GFNet, NeurIPS 2020). The glance scores {len(BOXES)} candidate boxes, a grid of 5 x 5 places at two scales,
{SHARES[0]:.0%} and {SHARES[1]:.0%} of the side; the router `glance` walks down that ranking and leaves out what
overlaps a box already seen. A crop is an affine glimpse (spatial transformer, NeurIPS 2015) of scale and place
whose sampling the host does, from the full photo. The evidence of all looks, their logits, is added up. One graph
serves glance and crops."""
TRAINING = """The backbone stays as it is: heads and policy were trained on features that were computed once, of {shown}
crops a photo. The policy is trained by imitation, not by reinforcement (GFNet's PPO costs hours): it learns to tell
the crop head's margin for the true class at the crops that were looked at. On the router split the box that it takes
has a mean margin of {policy:.2f}, a box at random {chance:.2f}, the best of those looked at {best:.2f}.

Whether the policy matters, on devtest, with all looks taken: {compared}.
On 800 photos such differences are within the noise: that the policy beats crops at random is likely, that it beats the
best fixed places is not shown. 900 photos with 16 crops each are little to learn from.

What loses, and why: from about 150 MMACs on a static net at 160 or 224 px is the better choice. These photos have
224 px, so a crop shows little that the whole photo at 224 does not, and only a part of it: three crops more do not make
up for the context. Below, where most photos are decided by the glance, the crops win. imagenette-resolution, which
spends its compute on the whole photo, is ahead of both from about 110 MMACs on.

On 700 photos agreement of 0.99 can't be certified (12 answers differ from the full walk's at the price 0), so the
default is certified for 0.97.

The glance costs as much as each crop; all later choices of a place go by what the glance saw, no crop changes them (in
RAM it may): the ranking is made once, and a walk only goes down it."""


class GlanceRecipe(LookRecipe):
    """A glance, then crops where the policy says."""

    def train(self, work: Path) -> None:
        """See `LookRecipe.train`."""
        start, (body, weight, bias) = perf_counter(), backbone()
        half.round_weights(body).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        looked = {name: looked_at(body, name, work) for name in SHOWN}
        net = Focus(body, len(bias), len(BOXES))
        with torch.no_grad():
            for head in (net.glance, net.crop):
                head.weight.copy_(weight)
                head.bias.copy_(bias)
        fit_heads(net, looked["train"], looks=LAPS)
        found = fit_policy(net, looked["train"], looked["router"])
        reward = margins(net, looked["router"])
        policy = {"policy": found[-1], "chance": float(reward.mean()), "best": float(reward.max(1).values.mean())}
        heads = {name: value.detach() for name, value in net.named_parameters() if not name.startswith("backbone")}
        torch.save(heads, work / "heads.pt")
        (work / "trained.json").write_text(json.dumps({"seconds": perf_counter() - start} | policy))

    def net(self, work: Path) -> GraphStage:
        """See `LookRecipe.net`."""
        made = Focus(backbone()[0], len(split("train").classes), len(BOXES))
        made.load_state_dict(torch.load(work / "heads.pt", weights_only=True), strict=False)
        small = half.round_weights(folded(made))
        assert isinstance(small, GraphStage)
        return small

    def zeros(self, rows: int) -> Arrays:
        """See `LookRecipe.zeros`."""
        return {name: np.zeros((rows, size), np.float32) for name, size in STATES.items()}

    def looks(self, photos: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """See `LookRecipe.looks`."""
        parts = [crops(photos, np.repeat(BOXES[[box]], len(photos), 0), SIZE) for box in (6, 30, 49)]
        return [whole(photos, SIZE), *parts]

    def carried(self, made: Arrays) -> Arrays:
        """See `LookRecipe.carried`."""
        return {name: made[port] for port, name in CARRIED.items()}

    def entries(self, folder: Path) -> list[dict[str, Any]]:
        """See `LookRecipe.entries`."""
        roles = {port: {"state": name} for port, name in CARRIED.items()}
        shown = {"height": SIZE, "width": SIZE}
        return [
            entry(folder, "glance", {"glimpse": "image"} | shown, roles, ["focus"]),
            entry(folder, "focus", {"glimpse": "crop", "at": MIDDLE} | shown, roles, ["focus"]),
        ]

    def fitted(self, work: Path, folder: Path) -> tuple[Arrays, NDArray[np.float64]]:
        """See `LookRecipe.fitted`."""
        photos, entries = split("router"), self.entries(folder)
        logits = walk(folder, photos, "policy")
        exit_macs = np.cumsum([entries[0]["macs_per_row"], *[entries[1]["macs_per_row"]] * LAPS])
        router = fit_router(logits, photos.labels, exit_macs)
        return router_arrays(router) | {"boxes": BOXES}, price_path(router.maps, router.exit_macs)

    def fixed_ways(self, work: Path, found: Package, devtest: Photos, ms: Mapping[str, float]) -> list[StaticNet]:
        """See `LookRecipe.fixed_ways`."""
        names, macs = found.graph.names, found.graph.macs
        return [
            static_net(
                f"{place + 1} looks" if place else "the glance",
                sum(macs[: place + 1]),
                told.argmax(axis=1) == devtest.labels,
                sum(ms[name] for name in names[: place + 1]),
            )
            for place, told in enumerate(walk(found.path, devtest, "policy"))
        ]

    def told(self, work: Path, found: Package) -> str:
        """See `LookRecipe.told`."""
        devtest, trained = imagenette.load("devtest"), json.loads((work / "trained.json").read_text())
        right = {
            chosen: (walk(found.path, devtest, chosen).argmax(axis=2) == devtest.labels).mean(axis=1)
            for chosen in ("policy", "chance", "order")
        }
        compared = "; ".join(
            f"{words} {', '.join(f'{share:.2%}' for share in right[chosen][1:])}"
            for chosen, words in (
                ("policy", "after 1, 2 and 3 crops by the policy"),
                ("chance", "at random"),
                ("order", "the same for all photos, by the mean ranking,"),
            )
        )
        return TRAINING.format(
            shown=SHOWN["train"], compared=compared, **{k: trained[k] for k in ("policy", "chance", "best")}
        )


def looked_at(body: LiteNet, name: str, work: Path) -> Looked:
    """The glance's map and some crops of each photo of a split, computed once."""
    photos, many = split(name), SHOWN[name]
    pixels, rng = photos.pixels(), np.random.default_rng(imagenette.SEED + 1)
    boxes = np.stack([rng.permutation(len(BOXES))[:many] for _ in range(len(photos))])
    return Looked(
        map=kept(work / f"map{SIZE}_{name}.pt", lambda: maps(body, whole(pixels, SIZE))),
        crops=kept(
            work / f"crops_{name}.pt",
            lambda: torch.stack([seen(body, crops(pixels, BOXES[boxes[:, row]], SIZE)) for row in range(many)], 1),
        ),
        boxes=torch.from_numpy(boxes),
        labels=torch.from_numpy(photos.labels),
    )


def walk(folder: Path, photos: Photos, chosen: str) -> NDArray[np.float32]:
    """Logits [1 + LAPS, n, classes] after each look, all looks taken.

    `chosen`: "policy", where the glance says; "chance", at random; "order", at the boxes that rank best on average.
    """
    graph, pixels, overlap = export.session(folder / GRAPH), photos.pixels(), overlaps(BOXES) > OVERLAP
    state = {"image": whole(pixels, SIZE)} | {
        name: np.zeros((len(pixels), size), np.float32) for name, size in STATES.items()
    }
    made = _batched(graph, state)
    scores = made["ranking"]
    if chosen == "chance":
        scores = np.random.default_rng(imagenette.SEED).normal(size=scores.shape).astype(np.float32)
    elif chosen == "order":
        scores = np.repeat(scores.mean(axis=0, keepdims=True), len(scores), 0)
    order, logits = ranked(scores, overlap, LAPS), [made["logits"]]
    for lap in range(LAPS):
        picture = crops(pixels, BOXES[order[:, lap]], SIZE)
        made = _batched(graph, {"image": picture} | {name: made[port] for port, name in CARRIED.items()})
        logits.append(made["logits"])
    return np.stack(logits)


def _batched(graph: Any, state: Arrays, rows: int = 50) -> Arrays:
    parts = [
        export.run(graph, {name: array[start : start + rows] for name, array in state.items()})
        for start in range(0, len(state["image"]), rows)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


RECIPE = GlanceRecipe(
    module="models.recipes.imagenette_glance",
    title=package.Title(
        name="imagenette-glance",
        version="1.0.0",
        modality="image",
        task="classification",
        family="glance-and-focus",
        router="glance",
        description="Ten classes of photos (Imagenette): a glance at a small copy, then crops of the full photo.",
        laps=LAPS,
        zeros=tuple(STATES),
        parameters={"where": "ranking"},
        default_agreement=0.97,
    ),
    words=WORDS,
)


if __name__ == "__main__":
    RECIPE.main()
