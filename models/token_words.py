"""Which words a token-dropping encoder still reads after each layer, for a model card."""

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer

from models.data.vocabulary import token_ids
from models.nets.encoder import Encoder, still_kept


@torch.no_grad()
def kept_words(net: Encoder, tokenizer: Tokenizer, text: str, threshold: float, layers: int) -> list[str]:
    """The words of which some token is kept after each of the first `layers` layers, one string a layer."""
    found = tokenizer.encode(text, add_special_tokens=False)
    h, kept = net.embed(torch.from_numpy(token_ids(tokenizer, [text], net.shape.tokens - 2)))
    lines = []
    for layer, _ in net.pieces[:layers]:
        mixed, received = layer.attend(layer.project(h), kept)
        kept = still_kept(received, threshold).unsqueeze(-1)
        h = layer.transform(mixed, h)
        # The first token is the opening one, which is no word.
        there = kept[0, 1 : 1 + len(found.ids), 0] > 0
        lines.append(_spelled(text, found.offsets, there.tolist()))
    return lines


def _spelled(text: str, offsets: Sequence[tuple[int, int]], kept: Sequence[bool]) -> str:
    """The kept pieces, with a space where something lies between two of them."""
    spelled, end = "", 0
    for (start, stop), there in zip(offsets, kept, strict=False):
        if there:
            spelled += (" " if spelled and start > end else "") + text[start:stop]
            end = stop
    return spelled
