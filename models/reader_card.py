"""The model card of a reader: what it read of each text, what that cost, and how right it was."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.calibration.scores import expected_calibration_error
from models.calibration.traverse import Traversal
from models.card import percent, table
from models.data.chunked import Chunked
from models.data.texts import TextSet
from models.findings import Share, default_place, spoilt
from models.nets.reader import ReaderShape, pair
from service.package.load import Package

SHOWN = 10
LENGTHS = (2, 4, 8, 16)
"""Chunks from which on a text belongs to the next bucket of lengths."""
INK, FAINT = "#1b4f72", "#b03a2e"


@dataclass(frozen=True)
class Static:
    """A baseline without routing: `macs` and `chunks` are means over the texts."""

    name: str
    macs: float
    chunks: float
    accuracy: Share


@dataclass(frozen=True)
class Point:
    """A price on devtest. `read` is the mean number of looks, `share` the mean share of a text's chunks looked at."""

    price: float
    macs: float
    fraction: float
    read: float
    share: float
    accuracy: Share
    agreement: Share
    calibration_error: float
    ms: float


@dataclass(frozen=True)
class Bucket:
    """Texts of about one length at the default price."""

    name: str
    n: int
    full: Share
    routed: Share
    read: float
    fraction: float


@dataclass(frozen=True)
class Findings:
    """All that the card shows; `looks` int [n] at the default price; `case` is a row of devtest."""

    points: tuple[Point, ...]
    default: int
    statics: tuple[Static, ...]
    buckets: tuple[Bucket, ...]
    looks: NDArray[np.int64]
    chunks: NDArray[np.int64]
    case: str
    n: int
    tokens_ms: float


def find(
    found: Package,
    walks: Traversal,
    texts: TextSet,
    data: Chunked,
    ms: Mapping[str, float],
    statics: Sequence[Static],
) -> Findings:
    """Findings from walks of devtest at the prices of the package's record."""
    laps, default, labels = found.manifest.laps, default_place(found), texts.labels
    by_stage = np.array([ms[name] + ms["tokens"] for name in found.graph.kinds])
    looks_of, ms_of = walks.routes.astype(np.int64).sum(axis=1), walks.routes @ by_stage
    full_macs = np.minimum(data.chunks, laps) * found.manifest.stages[0].macs_per_row
    scores = walks.answers.max(axis=2)
    points = tuple(
        Point(
            price=float(price),
            macs=float(walks.macs[place].mean()),
            fraction=float((walks.macs[place] / full_macs).mean()),
            read=float(looks_of[walks.route[place]].mean()),
            share=float((looks_of[walks.route[place]] / data.chunks).mean()),
            accuracy=_share(walks.predictions[place] == labels),
            agreement=_share(walks.predictions[place] == walks.predictions[0]),
            calibration_error=expected_calibration_error(scores[place], walks.predictions[place] == labels),
            ms=float(ms_of[walks.route[place]].mean()),
        )
        for place, price in enumerate(found.record.prices)
    )
    looks = looks_of[walks.route[default]]
    failing = spoilt(walks.predictions[default], scores[default], labels, walks.predictions[0])
    return Findings(
        points=points,
        default=default,
        statics=tuple(statics),
        buckets=_buckets(walks, default, labels, data.chunks, looks, full_macs),
        looks=looks,
        chunks=data.chunks,
        case=_case(found, walks, texts, default, failing, int(looks[failing]), int(data.chunks[failing])),
        n=len(labels),
        tokens_ms=ms["tokens"],
    )


def statics(
    logits: NDArray[np.float32],
    data: Chunked,
    labels: NDArray[np.int64],
    macs: int,
    train: tuple[Chunked, NDArray[np.int64]],
    shape: ReaderShape,
) -> list[Static]:
    """The same net on the first so many chunks (both ends first) of every text; and counting alone."""
    laps = logits.shape[1]
    made = []
    for most in (1, 2, 3, 4, 6, 8, laps):
        read = np.minimum(data.chunks, min(most, laps))
        right = logits[np.arange(len(labels)), read - 1].argmax(1) == labels
        name = "every chunk" if most == laps else f"at most {most} chunks"
        made.append(Static(name, float(read.mean() * macs), float(read.mean()), _share(right)))
    right = counted(train, data, shape) == labels
    made.append(
        Static("word and pair counts alone (naive Bayes), every chunk", 0.0, float(data.chunks.mean()), _share(right))
    )
    return made


def counted(train: tuple[Chunked, NDArray[np.int64]], data: Chunked, shape: ReaderShape) -> NDArray[np.int64]:
    """Classes by naive Bayes over tokens and hashed pairs: int64 [n]."""
    import torch

    def index(tokens: NDArray[np.integer]) -> list[NDArray[np.int64]]:
        wide = tokens.astype(np.int64)
        return [wide, pair(torch.from_numpy(wide), shape.pairs).numpy()]

    known, labels = train
    of_chunk = np.repeat(labels, known.chunks)
    total = np.zeros((len(data.chunks), shape.classes))
    text = np.repeat(np.arange(len(data.chunks)), data.chunks)
    for seen, asked, size in zip(index(known.tokens), index(data.tokens), (shape.vocabulary, shape.pairs), strict=True):
        counts = np.stack(
            [1.0 + np.bincount(seen[of_chunk == label].ravel(), minlength=size) for label in range(shape.classes)]
        )
        odds = np.log(counts / counts.sum(1, keepdims=True))
        odds[:, 0] = 0
        for label in range(shape.classes):
            total[:, label] += np.bincount(text, odds[label][asked].sum(1), len(data.chunks))
    return np.asarray(total.argmax(1))


def write(findings: Findings, found: Package, words: str, module: str, folder: Path) -> None:
    """README.md, curve.png and looks.png."""
    _plot_curve(findings, folder / "curve.png")
    _plot_looks(findings, folder / "looks.png")
    made = found.manifest.provenance
    title = found.name
    sections = [
        f"# {title}\n\n{found.manifest.description}\n{words}",
        f"![accuracy against compute](curve.png)\n\n{_summary(findings, found.manifest.default_agreement)}",
        f"## By price\n{_price_table(findings)}\n\n{_MS.format(ms=findings.tokens_ms)}",
        f"## Against baselines\n{_static_table(findings)}",
        f"## By length\n{_bucket_table(findings)}",
        "## What was read\n![how many looks a text gets](looks.png)",
        f"## Data\n{made['data']}. Splits of the training part, by class: train, router (tables and heads), "
        f"calibration ({len(found.record.labels):,}, certificates alone); devtest ({findings.n:,}) is "
        "what this card measures.",
        f"## Training\n`python -m {module}` makes everything again (seed {made['seed']}): {made['epochs']} epochs, "
        f"{made['train_minutes']} minutes, {made['machine']}. Walks to train on read from both ends, straight "
        "on, or\nwith chunks left out and skimmed at random, so that one memory serves all orders. Both "
        "tables begin with the\nlog-odds of words and pairs by class, as counting gives them. Largest difference "
        f"between the graphs' and torch's\noutputs: {max(made['parity_max_abs'].values()):.1e}.",
        f"## Limits\n{_LIMITS}",
        f"## A failing case\n{findings.case}",
    ]
    (folder / "README.md").write_text("\n\n".join(section.rstrip() for section in sections) + "\n")


_MS = (
    "Looks: chunks read or skimmed. Share: of a text's chunks, the mean over texts. ms: the sum of the looks' measured "
    "times at batch 1 on one thread, {ms:.2f} ms a look for making its tokens included. ECE: 15 bins."
)
_LIMITS = """- One training run, one seed, a few minutes on a shared core; 95 % intervals (Wilson) are the test split's.
- Trained without pretrained vectors, on the texts of its training split alone; other languages and registers will do
  worse, at times with a high score.
- Certificates hold on average for texts like the calibration split. Walks forced by a deadline or a limit are outside.
- Table look-ups count as no MACs, here as in the literature: counting alone costs none by that measure, and loses only
  what the table says."""


def _share(right: NDArray[np.bool_]) -> Share:
    return Share(int(right.sum()), len(right))


def _buckets(
    walks: Traversal,
    default: int,
    labels: NDArray[np.int64],
    chunks: NDArray[np.int64],
    looks: NDArray[np.int64],
    full_macs: NDArray[np.int64],
) -> tuple[Bucket, ...]:
    made, bounds = [], [1, *LENGTHS, int(chunks.max()) + 1]
    for low, high in pairwise(bounds):
        some = (chunks >= low) & (chunks < high)
        if some.any():
            made.append(
                Bucket(
                    name=f"{low}" if high == low + 1 else f"{low} to {high - 1}",
                    n=int(some.sum()),
                    full=_share((walks.predictions[0] == labels)[some]),
                    routed=_share((walks.predictions[default] == labels)[some]),
                    read=float(looks[some].mean()),
                    fraction=float((walks.macs[default] / full_macs)[some].mean()),
                )
            )
    return tuple(made)


def _case(found: Package, walks: Traversal, texts: TextSet, default: int, row: int, looks: int, chunks: int) -> str:
    answer, full = (found.labels[walks.predictions[place, row]] for place in (default, 0))
    score = float(walks.answers[default, row].max())
    return (
        f"Text {row} of devtest is labelled {found.labels[texts.labels[row]]}. At the default price the walk looks at "
        f"{looks} of its {chunks} chunks and says {answer}\n({score:.2f}); the full walk says {full}. A high score "
        "is no promise for one text: the certificate speaks of the average."
    )


def _summary(findings: Findings, promised: float) -> str:
    full, default, cheapest = findings.points[0], findings.points[findings.default], findings.points[-1]
    return (
        f"On {findings.n:,} texts of devtest the full walk ({full.macs / 1e6:.1f} MMACs, {full.read:.2f} looks on "
        f"average) is right for {percent(full.accuracy)} %,\nthe cheapest, of one look, for "
        f"{percent(cheapest.accuracy)} %. At the default budget (the highest price certified for agreement "
        f">= {promised:g}) a walk\n"
        f"costs {default.macs / full.macs:.1%} of that, looks {default.read:.2f} times, is right for "
        f"{percent(default.accuracy)} % and agrees with the full walk on {default.agreement.value:.2%}."
    )


def _shown(findings: Findings) -> list[int]:
    """Full, default and cheapest, then those whose cost lies furthest from any chosen."""
    chosen = {0, findings.default, len(findings.points) - 1}
    costs = np.array([point.macs for point in findings.points])
    while len(chosen) < min(SHOWN, len(costs)):
        gaps = np.abs(costs[:, None] - costs[sorted(chosen)]).min(axis=1)
        if not gaps.max() > 0:
            break
        chosen.add(int(gaps.argmax()))
    return sorted(chosen)


def _price_table(findings: Findings) -> str:
    rows = []
    for place in _shown(findings):
        point = findings.points[place]
        name = "full" if place == 0 else f"{point.price:.3g}"
        rows.append(
            [
                f"{name} (default)" if place == findings.default else name,
                f"{point.macs / 1e6:.2f}",
                f"{point.fraction:.3f}",
                f"{point.read:.2f}",
                f"{point.share:.3f}",
                percent(point.accuracy),
                f"{point.agreement.value * 100:.2f}",
                f"{point.calibration_error * 100:.1f}",
                f"{point.ms:.2f}",
            ]
        )
    head = ["price per GMAC", "mean MMACs", "of its full walk", "looks", "share of chunks"]
    return table([*head, "accuracy % (95 %)", "agreement %", "ECE %", "ms"], rows)


def _static_table(findings: Findings) -> str:
    costs = np.array([point.macs for point in findings.points])
    right = np.array([point.accuracy.value for point in findings.points])
    order = np.argsort(costs)
    rows = []
    for static in sorted(findings.statics, key=lambda each: each.macs):
        cheap = static.macs < costs.min()
        routed = "nothing so cheap" if cheap else f"{np.interp(static.macs, costs[order], right[order]) * 100:.2f}"
        rows.append([static.name, f"{static.macs / 1e6:.2f}", f"{static.chunks:.2f}", percent(static.accuracy), routed])
    return table(["without routing", "mean MMACs", "chunks", "its accuracy % (95 %)", "by price at that cost %"], rows)


def _bucket_table(findings: Findings) -> str:
    rows = [
        [
            bucket.name,
            f"{bucket.n:,}",
            percent(bucket.full),
            percent(bucket.routed),
            f"{bucket.read:.2f}",
            f"{(1 - bucket.fraction) * 100:.1f}",
        ]
        for bucket in findings.buckets
    ]
    head = ["chunks of the text", "texts", "full walk right %", "default right %", "looks at default", "MACs saved %"]
    return table(head, rows)


def _plot_curve(findings: Findings, file: Path) -> None:
    figure = Figure(figsize=(6, 3.6), dpi=90)
    axes = figure.subplots()
    full = findings.points[0].macs
    axes.plot(
        [p.macs / full for p in findings.points],
        [p.accuracy.value * 100 for p in findings.points],
        "o-",
        ms=3,
        color=INK,
        label="by price",
    )
    shown = [each for each in findings.statics if each.macs]
    axes.plot(
        [s.macs / full for s in shown],
        [s.accuracy.value * 100 for s in shown],
        "s--",
        ms=3,
        color=FAINT,
        label="the same number for every text",
    )
    for each in findings.statics:
        if not each.macs:
            axes.axhline(each.accuracy.value * 100, color="#888888", lw=1, ls=":", label="counts alone")
    axes.set(xlabel="MACs, share of the full walk", ylabel="accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file)


def _plot_looks(findings: Findings, file: Path) -> None:
    figure = Figure(figsize=(6, 2.8), dpi=90)
    axes = figure.subplots()
    most = int(min(findings.chunks.max(), 24))
    bins = np.arange(0.5, most + 1.5).tolist()
    axes.hist(np.minimum(findings.chunks, most), bins, color="#cccccc", label="chunks of the text")
    axes.hist(
        np.minimum(findings.looks, most), bins, histtype="step", color=INK, lw=1.5, label="looks at the default price"
    )
    axes.set(xlabel="chunks", ylabel="texts")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file)
