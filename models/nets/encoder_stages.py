"""The stages of an encoder package as they are exported: a bag of n-grams, then the encoder cut where tokens meet.

For layer l: `project` (ragged, a row a token), `attend` (the whole text), `transform` (ragged, over the tokens that are
still kept), `exit`. What state they share is named here; the manifest's entries are models/recipes/encoders.py's.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from models.export import GraphStage, StagePorts
from models.nets.bag import Bag
from models.nets.encoder import Embed, Encoder, Head, Layer


class BagStage(GraphStage):
    """Exit 0. `words`: how many the text has at most as the n-grams tell, from which its tokens are guessed."""

    def __init__(self, bag: Bag) -> None:
        super().__init__()
        self.bag, self.name = bag, "bag"
        self.ports = StagePorts(("ngrams",), ("words", "said", "streak", "logits"))

    def forward(self, ngrams: Tensor) -> tuple[Tensor, ...]:
        """int32 [rows, count] to words [rows, 1], the answer's class and 1 [rows, 1], logits."""
        logits = self.bag(ngrams)
        words = ((ngrams > 0).float().sum(1, keepdim=True) + 1) / 2
        said = logits.argmax(1, keepdim=True).float()
        return words, said, torch.ones_like(said), logits


class EmbedStage(GraphStage):
    """Tokens to vectors."""

    def __init__(self, embed: Embed) -> None:
        super().__init__()
        self.embed, self.name = embed, "embed"
        self.ports = StagePorts(("tokens",), ("h", "kept0"))

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """int32 [rows, n - 2] to h [rows, n, width] and kept0 [rows, n, 1]."""
        h, kept = self.embed(tokens)
        return h, kept


class ProjectStage(GraphStage):
    """Ragged: a token to its query, key and value."""

    def __init__(self, layer: Layer, place: int) -> None:
        super().__init__()
        self.layer, self.name = layer, f"project{place}"
        self.ports = StagePorts(("h",), ("qkv",))

    def forward(self, h: Tensor) -> tuple[Tensor, ...]:
        """[rows, width] to [rows, 3 width]."""
        return (self.layer.project(h),)


class AttendStage(GraphStage):
    """The kept tokens of a text look at each other."""

    def __init__(self, layer: Layer, place: int) -> None:
        super().__init__()
        self.layer, self.name = layer, f"attend{place}"
        self.ports = StagePorts(("qkv", f"kept{place - 1}"), ("mixed", "received"))

    def forward(self, qkv: Tensor, kept: Tensor) -> tuple[Tensor, ...]:
        """[rows, n, 3 width] and [rows, n, 1] to mixed [rows, n, width] and received [rows, n]."""
        mixed, received = self.layer.attend(qkv, kept)
        return mixed, received


class TransformStage(GraphStage):
    """Ragged: the feed-forward part for the tokens that are still kept, which it marks."""

    def __init__(self, layer: Layer, place: int) -> None:
        super().__init__()
        self.layer, self.name = layer, f"transform{place}"
        self.ports = StagePorts(("mixed", "h"), ("h_next", f"kept{place}"))

    def forward(self, mixed: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        """[rows, width] both, to h [rows, width] and ones [rows, 1]."""
        return self.layer.transform(mixed, h), torch.ones_like(h[:, :1])


class ExitStage(GraphStage):
    """The exit after a layer. `still` repeats who is kept, for the router; `streak` counts exits that said the same."""

    def __init__(self, head: Head, place: int) -> None:
        super().__init__()
        self.head, self.name = head, f"exit{place}"
        ports = ("h", f"kept{place}", "said", "streak")
        self.ports = StagePorts(ports, ("still", "said_next", "streak_next", "logits"))

    def forward(self, h: Tensor, kept: Tensor, said: Tensor, streak: Tensor) -> tuple[Tensor, ...]:
        """h [rows, n, width], kept [rows, n, 1], what the exit before said and for how long, [rows, 1] both."""
        logits = self.head(h, kept)
        says = logits.argmax(1, keepdim=True).float()
        # Compared as numbers: equal classes differ by exactly 0.
        same = ((says - said).abs() < 0.5).float()
        return kept + 0.0, says, same * streak + 1, logits


def stages(bag: Bag, net: Encoder) -> Iterator[GraphStage]:
    """All of them, in walking order."""
    yield BagStage(bag)
    yield EmbedStage(net.embed)
    for place, (layer, head) in enumerate(net.pieces, start=1):
        yield ProjectStage(layer, place)
        yield AttendStage(layer, place)
        yield TransformStage(layer, place)
        yield ExitStage(head, place)
