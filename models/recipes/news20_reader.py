"""Make the package news20-reader: posts of up to 11,000 words, of which a few chunks tell the newsgroup.

    python -m models.recipes.news20_reader [--phase PHASE] [--work DIR] [--package DIR]

See models/recipes/reading.py.
"""

from models.data import texts
from models.nets.reader import ReaderShape
from models.recipes.imdb_stop import StopRecipe
from models.recipes.reading import Corpus, titled

NEWS20 = Corpus(
    name="news20-reader",
    load=texts.news20,
    source="20 Newsgroups by date, headers cut off: github.com/yao8839836/text_gcn "
    "@ 962223652e9bb164ac2d83cd09fc7b8845ce860b",
    chars=320,
    laps=32,
    router=1000,
    calibration=2000,
    epochs=5,
    gate_price=0.012,
    shape=ReaderShape(tokens=128, vocabulary=12_000, classes=20, pairs=65_536, pair_width=20),
)
WORDS = """A post is cut into chunks of 320 characters; its headers, which name the group, were cut off. Each look
reads one chunk and updates the memory: the first, the last, then on from the front, at most 32 of them. After each
look stands an answer, and the walk stops where reading on isn't worth its price. What isn't read isn't tokenised: a
post of 11,000 words that is clear after three chunks costs three chunks."""

RECIPE = StopRecipe(
    module="models.recipes.news20_reader",
    corpus=NEWS20,
    title=titled(
        "news20-reader",
        "reader-stop",
        "Which of twenty newsgroups is a post from? Reads as much of it as that takes, not its headers.",
        NEWS20.laps,
        # 2,000 posts certify 0.99 only where hardly anything differs: nothing short of the whole post.
        default_agreement=0.95,
    ),
    words=WORDS,
)

if __name__ == "__main__":
    RECIPE.main()
