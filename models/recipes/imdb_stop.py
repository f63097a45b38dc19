"""Make the package imdb-stop: film reviews, read from both ends until the verdict is clear enough.

    python -m models.recipes.imdb_stop [--phase PHASE] [--work DIR] [--package DIR]

See models/recipes/reading.py. imdb-jump and imdb-skip share its work folder and its reader.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.calibration.reading import stop_tables
from models.data import texts
from models.nets.reader import ReaderShape
from models.recipes.reading import Arrays, Corpus, ReaderRecipe, stop_prices, titled, unrouted

IMDB = Corpus(
    name="imdb-reader",
    load=texts.imdb,
    source="Large Movie Review set (Maas et al., 2011): github.com/Wang-Zhengkang/aclImdb "
    "@ d5f55256d2e9f6cbfe89752735e85a2cfb8fdda9",
    chars=160,
    laps=32,
    router=3000,
    calibration=5000,
    epochs=3,
    gate_price=0.012,
    turned=0.5,
    shape=ReaderShape(tokens=56, vocabulary=12_000, classes=2),
)
WORDS = """A review is cut into chunks of 160 characters (about 28 words, 36 tokens). Each look reads one chunk and
updates the memory; the last chunk, where reviewers conclude, comes first, then the first, then on from the back.
After each look stands an answer, and the walk stops where the gain map of its group (how many chunks were read, how
many are left) says that reading on isn't worth its price."""


class StopRecipe(ReaderRecipe):
    """Stops by price."""

    def fitted(self, work: Path, macs: Mapping[str, int]) -> tuple[Arrays, NDArray[np.float64]]:
        """See `ReaderRecipe.fitted`."""
        walks, labels = unrouted(self.corpus, work, self.order)
        tables = stop_tables(walks, labels, macs["read"])
        return tables, stop_prices(tables)


RECIPE = StopRecipe(
    module="models.recipes.imdb_stop",
    corpus=IMDB,
    title=titled(
        "imdb-stop",
        "reader-stop",
        "Is a film review positive or negative? Reads it from both ends and stops when that is clear.",
        IMDB.laps,
        parameters={"order": "back"},
    ),
    words=WORDS,
    order="back",
)

if __name__ == "__main__":
    RECIPE.main()
