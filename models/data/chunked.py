"""Texts cut and tokenised as the server does it, once for all: training meets every chunk many times."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from service.media.windows import count, span

PAD, UNKNOWN = "[PAD]", "[UNK]"
"""Padding is token 0, as glimpses have it."""


@dataclass(frozen=True)
class Chunked:
    """n texts as chunks: `tokens` int32 [all chunks, count]; text i has rows `first[i]` up to `first[i + 1]`."""

    tokens: NDArray[np.int32]
    first: NDArray[np.int64]

    @property
    def chunks(self) -> NDArray[np.int64]:
        """How many chunks each text has: int64 [n]."""
        return np.diff(self.first)


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """WordPiece (Schuster and Nakajima, 2012) on lower-cased words and punctuation."""
    words = Tokenizer(models.WordPiece(unk_token=UNKNOWN, max_input_chars_per_word=64))
    words.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True
    )
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary, special_tokens=[PAD, UNKNOWN], limit_alphabet=200, show_progress=False
    )
    words.train_from_iterator(texts, trainer)
    return words


def chunked(words: Tokenizer, texts: Sequence[str], *, chars: int, tokens: int) -> Chunked:
    """Every chunk of every text."""
    sizes = [count(len(text), chars) for text in texts]
    first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    made = np.zeros((int(first[-1]), tokens), np.int32)
    for text, start, size in zip(texts, first.tolist(), sizes, strict=False):
        passages = [text[slice(*span(text, chars, chunk))] for chunk in range(size)]
        for row, told in enumerate(words.encode_batch(passages, add_special_tokens=False), start=start):
            ids = told.ids[:tokens]
            made[row, : len(ids)] = ids
    return Chunked(made, first)
