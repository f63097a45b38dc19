"""A BERT encoder (Devlin et al., 2019) in the pieces that become stages, with an exit after each layer.

A layer is cut where tokens meet: attention mixes a text's tokens, everything else is done to each token alone, so it
runs as a ragged stage over just the tokens that are kept, those of several texts in one matrix (selective batching:
Orca, Yu et al., OSDI 2022). Tokens that get little attention are dropped after a layer's attention and for good
(PoWER-BERT, Goyal et al., ICML 2020; a threshold per text: LTP, Kim et al., KDD 2022).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from models.training.equilibrium import scale_gradient

EPSILON = 1e-12
OPENING, CLOSING = 2, 3
"""Ids of [CLS] and [SEP]: models/data/vocabulary.py puts them there."""


@dataclass(frozen=True)
class Shape:
    """Sizes of an encoder; `tokens` is the longest text."""

    vocabulary: int
    classes: int
    layers: int = 6
    width: int = 384
    heads: int = 12
    inner: int = 1536
    tokens: int = 64
    head: int = 128


class Embed(nn.Module):
    """Token ids to vectors, and which of them are tokens at all.

    The glimpse of a text has its words' tokens only; the opening and the closing token, which a BERT text stands
    between, are set here.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.words = nn.Embedding(shape.vocabulary, shape.width)
        self.places = nn.Parameter(torch.zeros(shape.tokens, shape.width))
        self.norm = nn.LayerNorm(shape.width, eps=EPSILON)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """int [b, n - 2], 0 = padding, to h [b, n, width] and 1 where a token stands, [b, n, 1]."""
        ids = framed(ids.long())
        h: Tensor = self.norm(self.words(ids) + self.places[: ids.shape[1]])
        return h, (ids > 0).to(torch.float32).unsqueeze(-1)


def framed(ids: Tensor) -> Tensor:
    """Token ids [b, n - 2] between the opening and the closing token, [b, n]; padding, 0, stays behind them."""
    none = torch.zeros_like(ids[:, :1])
    before = torch.cat([none + 1, ids, none], dim=1) > 0
    ids = torch.cat([none + OPENING, ids, none], dim=1)
    closes = (torch.cat([before[:, :1], before[:, :-1]], dim=1)) & (ids == 0)
    return ids + closes.to(ids.dtype) * CLOSING


class Layer(nn.Module):
    """One encoder layer in three pieces: `project` and `transform` of each token alone, `attend` of all together."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads, self.width, self.scale = shape.heads, shape.width, 1 / sqrt(shape.width // shape.heads)
        self.into = nn.Linear(shape.width, 3 * shape.width)
        self.out = nn.Linear(shape.width, shape.width)
        self.norm = nn.LayerNorm(shape.width, eps=EPSILON)
        self.wide = nn.Linear(shape.width, shape.inner)
        self.narrow = nn.Linear(shape.inner, shape.width)
        self.last_norm = nn.LayerNorm(shape.width, eps=EPSILON)
        self.dropout = nn.Dropout(0.1)

    def project(self, h: Tensor) -> Tensor:
        """[.., width] to query, key and value, [.., 3 width]."""
        made: Tensor = self.into(h)
        return made

    def attend(self, qkv: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Mix the kept tokens.

        Args:
            qkv: [b, n, 3 width]; what stands at tokens that aren't kept doesn't matter.
            kept: 1 or 0, [b, n, 1].

        Returns:
            The mixed values [b, n, width], and the attention that each token received from the kept ones, [b, n]:
            1 is the average, -1 stands at those not kept.
        """
        n, width = qkv.shape[1], self.width
        # Not by multiplying: what no stage wrote may be anything, NaN included.
        qkv = torch.where(kept > 0, qkv, torch.zeros((), dtype=qkv.dtype))
        parts = qkv.reshape(-1, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        bias = (kept.reshape(-1, 1, 1, n) - 1) * 1e4
        weights = torch.softmax((parts[0] @ parts[1].transpose(2, 3)).float() * self.scale + bias, dim=3)
        mixed = (weights.to(qkv.dtype) @ parts[2]).permute(0, 2, 1, 3).reshape(-1, n, width)
        given = (weights * kept.unsqueeze(1)).sum(2).mean(1)
        return mixed, given * kept.squeeze(2) - (1 - kept.squeeze(2))

    def transform(self, mixed: Tensor, h: Tensor) -> Tensor:
        """What attention brought and the feed-forward part, added to h: all [.., width]."""
        h = self.norm(h + self.dropout(self.out(mixed)))
        inner = F.gelu(self.wide(h))
        made: Tensor = self.last_norm(h + self.dropout(self.narrow(inner)))
        return made


class Head(nn.Module):
    """The exit after a layer: the first token's vector and the mean of the kept ones, a hidden layer, the classes."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.hidden = nn.Linear(2 * shape.width, shape.head)
        self.answer = nn.Linear(shape.head, shape.classes)
        self.dropout = nn.Dropout(0.1)

    def forward(self, h: Tensor, kept: Tensor) -> Tensor:
        """h [b, n, width] and kept [b, n, 1] to logits [b, classes]."""
        h = torch.where(kept > 0, h, torch.zeros((), dtype=h.dtype))
        mean = h.sum(1) / kept.sum(1).clamp(min=1)
        seen = torch.cat([h[:, 0], mean], dim=1)
        logits: Tensor = self.answer(self.dropout(F.gelu(self.hidden(self.dropout(seen)))))
        return logits


class Encoder(nn.Module):
    """Embedding, layers, and an exit after each."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = Embed(shape)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.heads = nn.ModuleList(Head(shape) for _ in range(shape.layers))

    @property
    def pieces(self) -> list[tuple[Layer, Head]]:
        """Each layer with the exit after it."""
        return [(cast(Layer, layer), cast(Head, head)) for layer, head in zip(self.layers, self.heads, strict=True)]

    def forward(self, ids: Tensor, threshold: Tensor | float = 0.0, share: float = 1.0) -> list[Tensor]:
        """int [b, n - 2] to the logits of every exit, [b, classes] each.

        Args:
            ids: of the tokens; 0 pads.
            threshold: [b, 1] or one number: after each layer's attention a token that received less is dropped; the
                first one, whose vector the exits read, never is.
            share: of an earlier exit's gradient goes into the layers; with 0 they learn for the last exit alone.
        """
        h, kept = self.embed(ids)
        answers = []
        for place, (layer, head) in enumerate(self.pieces):
            mixed, received = layer.attend(layer.project(h), kept)
            kept = still_kept(received, threshold).unsqueeze(-1)
            h = layer.transform(mixed, h)
            last = place == self.shape.layers - 1
            answers.append(head(scale_gradient(h, 1.0 if last else share), kept).float())
        return answers


def still_kept(received: Tensor, threshold: Tensor | float) -> Tensor:
    """1 at the first token and at those that received at least `threshold` of the average attention, [b, n]."""
    kept = ((received >= threshold) & (received >= 0)).to(torch.float32)
    return torch.cat([torch.ones_like(kept[:, :1]), kept[:, 1:]], dim=1)


def pretrained(weights: Path, words: Sequence[int], classes: int, layers: int, tokens: int) -> Encoder:
    """An encoder that starts from a BERT checkpoint's safetensors file; the exits are new.

    Args:
        weights: the file.
        words: which of its vocabulary are kept, in their new order.
        classes: of the answer.
        layers: how many of its layers, from the first.
        tokens: the longest text.
    """
    saved = load_file(weights)
    width = saved["embeddings.word_embeddings.weight"].shape[1]
    inner = saved["encoder.layer.0.intermediate.dense.weight"].shape[0]
    net = Encoder(Shape(len(words), classes, layers, width, width // 32, inner, tokens))
    with torch.no_grad():
        net.embed.words.weight.copy_(saved["embeddings.word_embeddings.weight"][list(words)])
        # There is one kind of segment here, so its vector is part of each place's.
        places = saved["embeddings.position_embeddings.weight"][:tokens]
        net.embed.places.copy_(places + saved["embeddings.token_type_embeddings.weight"][0])
        _copy(net.embed.norm, saved, "embeddings.LayerNorm")
        for place, layer in enumerate(net.layers):
            _start(layer, saved, f"encoder.layer.{place}")
    return net


def _start(layer: nn.Module, saved: Mapping[str, Tensor], prefix: str) -> None:
    assert isinstance(layer, Layer)
    for kind in ("weight", "bias"):
        parts = [saved[f"{prefix}.attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
        getattr(layer.into, kind).copy_(torch.cat(parts))
    _copy(layer.out, saved, f"{prefix}.attention.output.dense")
    _copy(layer.norm, saved, f"{prefix}.attention.output.LayerNorm")
    _copy(layer.wide, saved, f"{prefix}.intermediate.dense")
    _copy(layer.narrow, saved, f"{prefix}.output.dense")
    _copy(layer.last_norm, saved, f"{prefix}.output.LayerNorm")


def _copy(module: nn.Linear | nn.LayerNorm, saved: Mapping[str, Tensor], prefix: str) -> None:
    module.weight.copy_(saved[f"{prefix}.weight"])
    module.bias.copy_(saved[f"{prefix}.bias"])
