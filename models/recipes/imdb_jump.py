"""Make the package imdb-jump: film reviews, read where it promises to help most, from either end.

    python -m models.recipes.imdb_jump [--phase PHASE] [--work DIR] [--package DIR]

See models/recipes/reading.py.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.calibration.reading import jump_walks, stop_tables
from models.recipes.imdb_stop import IMDB
from models.recipes.reading import Arrays, ReaderRecipe, stop_prices, titled

WORDS = """The reader is that of imdb-stop, graph for graph, and begins with the last chunk as well. After each look a
policy tells for six jumps (the first unread chunk from the front or from the back, leaving out none, one or three) how
much likelier the right answer is expected to become; the walk reads there. What is left out can be come back to. It
stops as imdb-stop does. The policy is regressed on gains measured in random walks over the router split, where every
jump was tried from every state."""


class JumpRecipe(ReaderRecipe):
    """Jumps by policy, stops by price."""

    def fitted(self, work: Path, macs: Mapping[str, int]) -> tuple[Arrays, NDArray[np.float64]]:
        """See `ReaderRecipe.fitted`."""
        net = self.corpus.reader(work)
        data, labels = self.corpus.told(work, net)
        walks = jump_walks(net, self.corpus.ways(work), data, self.corpus.laps)
        tables = stop_tables(walks, labels, macs["read"])
        return tables, stop_prices(tables)


RECIPE = JumpRecipe(
    module="models.recipes.imdb_jump",
    corpus=IMDB,
    title=titled(
        "imdb-jump",
        "reader-jump",
        "Is a film review positive or negative? Jumps to where reading on promises to help most.",
        IMDB.laps,
    ),
    words=WORDS,
    order="turned",
)

if __name__ == "__main__":
    RECIPE.main()
