"""Make the package imdb-skip: film reviews, of which chunks are skipped or skimmed as a gate in the state says.

    python -m models.recipes.imdb_skip [--phase PHASE] [--work DIR] [--package DIR]

See models/recipes/reading.py.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.calibration.reading import KNOBS, skip_tables, skip_walks
from models.calibration.walks import menu
from models.recipes.imdb_stop import IMDB
from models.recipes.reading import Arrays, ReaderRecipe, titled

SKIM_SHARES = (0.0, 0.25, 0.5, 0.75)
WORDS = """The reader is that of imdb-stop, read front to back. After each look a gate gives a step between 0 and 1
(Skip-RNN, ICLR 2018); the steps add up, and the chunk at which the sum is full is read next, until when the state is
copied: so how many chunks are left out is known at once, and they are not even tokenised. A second gate says whether
that chunk is read in whole or skimmed (Skim-RNN, ICLR 2018): 24 of 128 channels, which update 32 of the memory's 128
numbers. What counts as full is the knob that the price turns; where no chunk ahead would fill the sum, the walk ends.
Both gates learned by trying on the router split, the reader as it is: first when to look, no skimming allowed, then
how closely (models/training/skips.py).
At equal MACs imdb-stop is right more often, but for a short stretch about a quarter of the full cost; in time it always
is. Reading the end first tells more than skimming on the way there, and a skim that saves four fifths of the MACs
saves, tokens included, a quarter of the time."""


class SkipRecipe(ReaderRecipe):
    """Skips and skims by gates."""

    def fitted(self, work: Path, macs: Mapping[str, int]) -> tuple[Arrays, NDArray[np.float64]]:
        """See `ReaderRecipe.fitted`: of several shares the one under which the path is best on average."""
        net, ways = self.corpus.reader(work), self.corpus.ways(work)
        data, labels = self.corpus.told(work, net)
        found = []
        for share in SKIM_SHARES:
            walks = [skip_walks(net, ways, data, self.corpus.laps, knob=knob, skim_share=share) for knob in KNOBS]
            tables = skip_tables(walks, labels, (macs["read"], macs["skim"]), share)
            cost = np.array([float((w.read * macs["read"] + w.skimmed * macs["skim"]).mean()) for w in walks])
            right = np.array([float((w.logits.argmax(1) == labels).mean()) for w in walks])
            order = np.argsort(cost)
            best = np.maximum.accumulate(right[order])
            grid = np.linspace(cost.min(), cost.max(), 50)
            found.append((float(np.interp(grid, cost[order], best).mean()), tables))
            print(f"skim share {share}: {found[-1][0]:.4f}", np.round(cost / 1e6, 1), np.round(right, 4), flush=True)
        tables = max(found, key=lambda each: each[0])[1]
        return tables, menu(tables["knob_prices"][np.isfinite(tables["knob_prices"])])


RECIPE = SkipRecipe(
    module="models.recipes.imdb_skip",
    corpus=IMDB,
    title=titled(
        "imdb-skip",
        "reader-skip",
        "Is a film review positive or negative? Skips and skims what its state says won't matter.",
        IMDB.laps,
        # Few knobs are on the hull: the first that saves anything agrees on 98 to 99 %.
        default_agreement=0.98,
    ),
    words=WORDS,
    stages=("read", "skim"),
)

if __name__ == "__main__":
    RECIPE.main()
