"""The card of camvid-detect: what was measured on devtest, and in words what it is.

env OFFRAMP_DATA=DATA OMP_NUM_THREADS=1 python -m models.recipes.camvid_detect_card
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models import card, dense_card
from models.calibration.refining import Graphs, Sample
from models.card import Text
from models.data import camvid
from models.data.boxes import Boxes, average_precision
from models.data.camvid import Frames
from models.dense_card import DenseFindings, Metric, Static
from models.nets.detect import LABELS
from models.plots import save
from models.recipes.camvid_card import default_price, few_colours, stage_ms
from models.recipes.camvid_detect import ZOO, CropViews, graphs_in, walk
from models.training.detect import LEAST_AREA, LEAST_HEIGHT, truths
from service.package.load import load
from service.task.detection import MATCH, SHOWN, Detection

FIXED = (2, 4, 8, 12)
"""Likeliest proposals looked at in every frame, doubtful or not: a baseline."""

INTRO = """Proposals for cars, pedestrians and bicyclists come from the coarse net of camvid-refine (centres on a heat
map); those that a table, made on other frames, says are worth it are looked at again in the frame itself, each as a row
of a ragged stage: class, probability and edges anew. A small second dense task on the walk of `refine`, no competitive
detector."""
LIMITS = f"""- Truth is made from label maps by connected components of {LEAST_AREA} pixels and {LEAST_HEIGHT} rows or
  more: cars that overlap in the picture are one box, and so they are learnt.
- 367 frames of four drives, two views of each: the net knows few things. Bicyclists are rare (25 in devtest).
- Sixteen proposals a frame at most; what none of them is near is never found.
- A box that was looked at has a probability of its own scale: calibrated on 41 frames of one drive.
- Certificates rest on 60 frames of one drive, a second apart, so they are far from independent. They speak of F1
  between an answer's boxes and the full walk's.
- Answers forced by a deadline or a compute limit (fewer looks than wanted) are outside the certificate.
- Weights are for research only, as CamVid is (CC BY-NC 4.0)."""


def precisions(answers: Sequence[NDArray[np.float32]], things: Sequence[Boxes]) -> list[float]:
    """AP at overlap 0.5 of each label, in %."""
    return [average_precision(answers, things, label, MATCH) * 100 for label in range(len(LABELS))]


def f1(answers: Sequence[NDArray[np.float32]], things: Sequence[Boxes]) -> float:
    """F1 over all boxes of the split, in %: found at overlap 0.5 among those answered with 0.5 or more."""
    task, both, total = Detection(), 0.0, 0
    for answer, truth in zip(answers, things, strict=True):
        kept = task.kept(answer)
        count = len(kept) + len(truth)
        both, total = both + (1 - task.loss(kept, truth)) * count if count else both, total + count
    return both / max(total, 1) * 100


def fixed(graphs: Graphs, devtest: Frames) -> list[list[NDArray[np.float32]]]:
    """Answers if the same number of likeliest proposals is looked at in every frame, for each of `FIXED`."""
    views = CropViews(devtest)
    made: list[list[NDArray[np.float32]]] = [[] for _ in FIXED]
    for row in range(len(devtest)):
        sample = Sample(graphs, views, row)
        # Peaks come sorted by their heat.
        for place, count in enumerate(FIXED):
            made[place].append(sample.after(np.arange(count))["answer"][0])
    return made


def failing(found: DenseFindings, devtest: Frames, things: Sequence[Boxes]) -> str:
    """Draw the frame on which the default answer is worst, with truth and answer; say so."""
    quality = found.walks.quality[found.told]
    row = int(np.argmin(quality - 0.01 * np.array([len(truth) for truth in things])))
    figure = Figure(figsize=(5.4, 4.1), layout="constrained")
    axes = figure.subplots()
    axes.imshow(devtest.images[row][::2, ::2])
    axes.set_axis_off()
    for boxes, colour in ((things[row], "w"), (Detection().kept(found.walks.tallies[found.told][row]), "y")):
        for label, probability, top, left, bottom, right in boxes.tolist():
            xs, ys = [left, right, right, left, left], [top, top, bottom, bottom, top]
            axes.plot([x * camvid.WIDTH / 2 for x in xs], [y * camvid.HEIGHT / 2 for y in ys], f"{colour}-", lw=1)
            if colour == "y":
                name = f"{LABELS[int(label)]} {probability:.2f}"
                axes.text(left * camvid.WIDTH / 2, top * camvid.HEIGHT / 2, name, color="y", fontsize=6)
    save(figure, ZOO / "failing_case.png", dpi=55)
    few_colours(ZOO / "failing_case.png")
    return (
        f"Frame {row} of devtest: white is the truth ({len(things[row])} things), yellow the answer at the price "
        f"{found.prices[found.told]:.3g}, F1 {quality[row]:.2f}."
    )


def main() -> None:
    """Command line, without arguments."""
    package, devtest, graphs = load(ZOO), camvid.load("devtest"), graphs_in(ZOO)
    things, prices, default = truths(devtest.masks), package.record.prices, default_price(package)
    walks = walk(package, devtest, prices)
    by_label = [precisions(answers, things) for answers in walks.tallies]
    metrics = [
        Metric("F1", [f1(answers, things) for answers in walks.tallies]),
        Metric("mean AP50", [float(np.mean(each)) for each in by_label]),
        *(Metric(f"AP50 {name}", [each[place] for each in by_label]) for place, name in enumerate(LABELS)),
    ]
    ms = stage_ms(graphs, CropViews(devtest))
    found = DenseFindings(package, prices, walks, metrics, ms, default, {}, "proposal")
    first, part, _ = package.graph.macs
    found.statics["the likeliest proposals of every frame"] = [
        Static(f"{count} looked at", first + count * part, found.ms_of(count), f1(answers, things))
        for count, answers in zip(FIXED, fixed(graphs, devtest), strict=True)
    ]
    provenance = package.manifest.provenance
    text = Text(
        title="camvid-detect",
        intro=INTRO,
        data=f"{camvid.SOURCE}. {provenance['splits']}. Things in devtest: {sum(map(len, things))}.",
        training=(
            f"Grown on {provenance['grown_on']}, both frozen. Trained: {provenance['epochs']} epochs on features of "
            f"two views of each frame; minutes of one shared core: {provenance['train_minutes']}. "
            "`python -m models.recipes.camvid_detect` makes the package again, `python -m "
            f"models.recipes.camvid_detect_card` this page. Parity with torch: {provenance['parity_max_abs']}. "
            f"Stage ms on {provenance['machine']}: {ms}."
        ),
        limits=LIMITS,
        failing=failing(found, devtest, things),
    )
    dense_card.write(found, text, [_more(found)], ZOO)


def _more(found: DenseFindings) -> str:
    """Where looking at everything is worse than looking at some, if it is."""
    main = found.metrics[1]
    best = int(np.argmax(main.values))
    values = {"full": main.values[0], "best on the path": main.values[best]}
    rows = [[name, f"{value:.1f}"] for name, value in values.items()]
    return (
        "## More looks are not always better\n"
        + card.table(["walk", f"{main.name} %"], rows)
        + "\n\nA closer look at a proposal that was sure already can do harm: its probability is on another scale than "
        f"those of proposals not looked at\n(shown from {SHOWN} on), and the looks were trained on few things."
    )


if __name__ == "__main__":
    main()
