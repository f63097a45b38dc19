"""The four ways to read clips against uniform sampling, as a Markdown table: what docs/clips.md shows.

    python -m models.recipes.ucf_table [BUILD]

reads the summaries that the four recipes left in their work folders (`build/ucf-frames` ..).
"""

import json
import sys
from pathlib import Path
from typing import Any

from models.card import table

FAMILIES = ("ucf-frames", "ucf-hierarchical", "ucf-keyframes", "ucf-agent")
COUNTS = ("1 frame", "2 frames", "4 frames", "8 frames", "16 frames")


def walks_table(found: dict[str, dict[str, Any]]) -> str:
    """The full walk, the default and the cheapest price within a point of the full walk, by family."""
    rows = []
    for name, summary in found.items():
        full = summary["walks"]["full"]
        cells = [name, f"{full['macs'] / 1e6:.0f}", full["accuracy"]]
        for each in ("default", "within a point"):
            point = summary["walks"][each]
            cells += [f"{point['frames']:.2f}", f"{point['macs'] / full['macs'] * 100:.1f}", point["accuracy"]]
        rows.append(cells)
    head = ["package", "full: MMACs", "accuracy % (95 %)"]
    head += [f"{name}: {what}" for name in ("default", "within 1 point") for what in ("frames", "MACs %", "accuracy %")]
    return table(head, rows)


def uniform_table(found: dict[str, dict[str, Any]]) -> str:
    """Uniform sampling, and by family the accuracy of walks that cost no more, with the paired difference."""
    uniform = next(iter(found.values()))["uniform"]
    names = [f"uniform, {count}" for count in COUNTS]
    rows = [
        [name, uniform[name], *(summary["against"][name] or "nothing so cheap" for summary in found.values())]
        for name in names
    ]
    return table(["every clip the same", "accuracy % (95 %)", *found], rows)


def main(arguments: list[str]) -> None:
    """Print both."""
    build = Path(arguments[0] if arguments else "build")
    found = {name: json.loads((build / name / "summary.json").read_text()) for name in FAMILIES}
    print(walks_table(found), uniform_table(found), sep="\n\n")


if __name__ == "__main__":
    main(sys.argv[1:])
