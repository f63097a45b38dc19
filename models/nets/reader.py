"""A reader of long texts, chunk by chunk: what a chunk says, and a memory that it updates in whole or in part.

Two levels, as in hierarchical recurrent readers (HM-RNN, ICLR 2017): below, a chunk's tokens become one vector, by a
convolution over three tokens and a bag of hashed token pairs; above, a GRU with a running mean keeps the document's
memory, and moves once a chunk. `Skim` is the cheap look of Skim-RNN (ICLR 2018): the first channels of the same
convolution, which update the first part of the memory and leave the rest as it was.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

PAIR_STEP = 31_337
"""Multiplies the first token's number in the hash of a pair."""


@dataclass(frozen=True)
class ReaderShape:
    """Sizes: `tokens` of a chunk, `vocabulary`, `classes`; `pairs` rows of the table of hashed pairs."""

    tokens: int
    vocabulary: int
    classes: int
    width: int = 64
    channels: int = 128
    part_channels: int = 24
    pairs: int = 131_072
    pair_width: int = 8
    memory: int = 128
    part: int = 32

    @property
    def state(self) -> int:
        """Floats of the memory: the GRU's, the sum of what was read, and how often each part of it was updated."""
        return 2 * self.memory + 2


class Chunks(nn.Module):
    """Tokens of chunks to one vector each."""

    def __init__(self, shape: ReaderShape, dropout: float = 0.5) -> None:
        super().__init__()
        self.shape = shape
        self.words = nn.Embedding(shape.vocabulary, shape.width, padding_idx=0)
        self.pairs = nn.Embedding(shape.pairs, shape.pair_width, padding_idx=0)
        self.conv = nn.Linear(3 * shape.width, shape.channels)
        self.told = nn.Linear(shape.channels + shape.width + shape.pair_width, shape.memory)
        self.part_told = nn.Linear(shape.part_channels + shape.width, shape.part)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.words.weight, std=0.1)
        nn.init.normal_(self.pairs.weight, std=0.02)
        with torch.no_grad():
            self.words.weight[0] = 0
            self.pairs.weight[0] = 0

    def forward(self, tokens: Tensor) -> Tensor:
        """int64 [m, tokens] to float32 [m, memory]."""
        words, some = self.words(tokens), _root_count(tokens)
        pairs = _summed(self.pairs, pair(tokens, self.shape.pairs)) / some
        seen = [self._convolved(words, self.conv.weight, self.conv.bias, tokens), words.sum(1) / some, pairs]
        return functional.relu(self.told(self.dropout(torch.cat(seen, dim=1))))

    def part(self, tokens: Tensor) -> Tensor:
        """The cheap look: int64 [m, tokens] to float32 [m, part]."""
        words, some = self.words(tokens), _root_count(tokens)
        kernel, bias = self.conv.weight[: self.shape.part_channels], self.conv.bias[: self.shape.part_channels]
        seen = [self._convolved(words, kernel, bias, tokens), words.sum(1) / some]
        return functional.relu(self.part_told(self.dropout(torch.cat(seen, dim=1))))

    def _convolved(self, words: Tensor, kernel: Tensor, bias: Tensor, tokens: Tensor) -> Tensor:
        """Each token with its neighbours through the kernel, the largest of each channel: [m, channels]."""
        if self.training:
            words = words.bfloat16()
        edge = torch.zeros_like(words[:, :1])
        windows = torch.cat([torch.cat([edge, words[:, :-1]], 1), words, torch.cat([words[:, 1:], edge], 1)], dim=2)
        seen = functional.linear(windows, kernel.to(words.dtype), bias.to(words.dtype))
        absent = (tokens == 0).unsqueeze(2).to(seen.dtype) * -1e4
        return functional.relu((seen + absent).max(1).values.float())


class Memory(nn.Module):
    """The document's memory: float32 [rows, state], zeros before anything was read."""

    def __init__(self, shape: ReaderShape, dropout: float = 0.3) -> None:
        super().__init__()
        self.shape = shape
        self.cell = nn.GRUCell(shape.memory, shape.memory)
        self.part_cell = nn.GRUCell(shape.part, shape.part)
        self.head = nn.Linear(2 * shape.memory, shape.classes)
        self.dropout = nn.Dropout(dropout)

    def read(self, memory: Tensor, told: Tensor) -> Tensor:
        """The whole memory updated by a chunk's vector [rows, memory]."""
        hidden, total, low, high = self._split(memory)
        return torch.cat([self.cell(told, hidden), total + told, low + 1, high + 1], dim=1)

    def skim(self, memory: Tensor, told: Tensor) -> Tensor:
        """The first `part` of it updated by a cheap vector [rows, part]; the rest is copied."""
        part = self.shape.part
        hidden, total, low, high = self._split(memory)
        fresh = self.part_cell(told, hidden[:, :part])
        return torch.cat([fresh, hidden[:, part:], total[:, :part] + told, total[:, part:], low + 1, high], dim=1)

    def seen(self, memory: Tensor) -> Tensor:
        """What heads look at: [rows, 2 memory], the GRU's state and the mean of what was read."""
        part = self.shape.part
        hidden, total, low, high = self._split(memory)
        mean = torch.cat([total[:, :part] / low.clamp(min=1), total[:, part:] / high.clamp(min=1)], dim=1)
        return torch.cat([hidden, mean], dim=1)

    def logits(self, memory: Tensor) -> Tensor:
        """The answer as it stands: [rows, classes]."""
        answer: Tensor = self.head(self.dropout(self.seen(memory)))
        return answer

    def _split(self, memory: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        width = self.shape.memory
        return (
            memory[:, :width],
            memory[:, width : 2 * width],
            memory[:, 2 * width : 2 * width + 1],
            memory[:, 2 * width + 1 :],
        )


class Reader(nn.Module):
    """Chunks, and the memory of a document."""

    def __init__(self, shape: ReaderShape) -> None:
        super().__init__()
        self.shape, self.chunks, self.memory = shape, Chunks(shape), Memory(shape)


def pair(tokens: Tensor, rows: int) -> Tensor:
    """Row of the pair table of each token with its successor: int64 [m, tokens], 0 where there is none."""
    after = torch.cat([tokens[:, 1:], torch.zeros_like(tokens[:, :1])], dim=1)
    return (1 + torch.remainder(tokens * PAIR_STEP + after, rows - 1)) * (after > 0)


def _summed(table: nn.Embedding, index: Tensor) -> Tensor:
    """Sum of the rows that an index [m, k] names: [m, width]."""
    if torch.onnx.is_in_onnx_export():
        told: Tensor = table(index).sum(1)
        return told
    return functional.embedding_bag(index, table.weight, mode="sum", padding_idx=0)


def _root_count(tokens: Tensor) -> Tensor:
    """Root of how many tokens there are, at least 1: [m, 1]. Sums are divided by it: a mean would forget how much was
    said, a sum would count it all."""
    return (tokens > 0).float().sum(1, keepdim=True).clamp(min=1).sqrt()
