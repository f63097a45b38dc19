"""What recipes of readers share: a corpus, one trained reader for it, and packages whose routers use it differently.

    python -m models.recipes.NAME [--phase PHASE] [--work DIR] [--package DIR]

Phases: prepare, train, ways, export, calibrate, time, card; without one, all of them run in this order. Packages of one
corpus share `--work`, and so the trained reader: its graphs are the same files in each. Training resumes from its last
epoch. OFFRAMP_DATA names the folder of the data.
"""

import datetime
import json
import platform
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models import export, half, package, reader_card
from models.calibration.chunk_views import ChunkViews
from models.calibration.reading import Answers
from models.calibration.traverse import Stages, Traversal, traverse
from models.calibration.walks import menu
from models.data import splits
from models.data.chunked import Chunked, chunked, train_tokenizer
from models.data.splits import Splits
from models.data.texts import TextSet
from models.nets.reader import Reader, ReaderShape
from models.nets.reader_stages import Look, Ways
from models.recipes import command
from models.recipes.command import Folder
from models.training import skips
from models.training import ways as learning
from models.training.reading import Order, ReaderTrainer, ReadingPlan, answers, full_walks, informed
from models.training.ways import Told
from service.package.load import Package, load
from service.routing.base import build
from service.routing.reading import MARKS

SEED = 11
TOKENIZER = "tokenizer.json"
STATES = ("memory", "done")
GATE_ROUNDS = 250
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Corpus:
    """A data set, how it is cut into chunks, and the reader that is trained on it."""

    name: str
    load: Callable[[Any], TextSet]
    source: str
    chars: int
    laps: int
    router: int
    calibration: int
    epochs: int
    gate_price: float
    """Cost of a whole look in the gate's training, in probability of the true class."""
    shape: ReaderShape
    turned: float = 0.0
    """Share of the walks from both ends in training that begin with the last chunk."""
    held: dict[str, TextSet] = field(default_factory=dict, compare=False)

    def texts(self, part: str) -> TextSet:
        """A part, read once."""
        if part not in self.held:
            self.held[part] = self.load(part)
        return self.held[part]

    @property
    def parts(self) -> Splits:
        """Rows of the training part."""
        labels = self.texts("train").labels
        return splits.stratified(labels, router=self.router, calibration=self.calibration, seed=7)

    def prepare(self, work: Path) -> None:
        """Train the tokenizer on the training split, and tokenise every chunk of both parts."""
        words = train_tokenizer(self.texts("train").take(self.parts.train).texts, self.shape.vocabulary)
        words.save(str(work / TOKENIZER), pretty=False)
        for part in ("train", "devtest"):
            made = chunked(words, self.texts(part).texts, chars=self.chars, tokens=self.shape.tokens)
            np.savez(work / f"{part}.npz", tokens=made.tokens.astype(np.uint16), first=made.first)

    def chunks(self, work: Path, part: str, rows: NDArray[np.integer] | None = None) -> Chunked:
        """Tokenised chunks of a part, or of some of its texts."""
        with np.load(work / f"{part}.npz") as saved:
            whole = Chunked(saved["tokens"], saved["first"])
        if rows is None:
            return whole
        sizes = whole.chunks[rows]
        first = np.concatenate([[0], np.cumsum(sizes)])
        kept = np.repeat(whole.first[rows] - first[:-1], sizes) + np.arange(first[-1])
        return Chunked(whole.tokens[kept], first)

    def trainer(self, work: Path) -> ReaderTrainer:
        """The reader's, at its last epoch."""
        rows = self.parts.train
        data, labels = self.chunks(work, "train", rows), self.texts("train").labels[rows]
        torch.manual_seed(SEED)
        net = Reader(self.shape)
        if not (work / "reader.pt").is_file():
            informed(net, data, labels)
        return ReaderTrainer(net, data, labels, ReadingPlan(self.epochs, self.laps, SEED, turned=self.turned), work)

    def train(self, work: Path) -> None:
        """Train the reader; the accuracy of full walks of the router split is told after each epoch."""
        rows = self.parts.router
        data, labels = self.chunks(work, "train", rows), self.texts("train").labels[rows]
        walks = full_walks(data.chunks, self.laps)

        def judge(net: Reader) -> str:
            right = (answers(net, data, walks).argmax(2) == labels[:, None]).mean(0)
            return " ".join(f"{share:.4f}" for share in (*right[:-1][:6], right[-1]))

        self.trainer(work).run(judge)

    def reader(self, work: Path) -> Reader:
        """The trained reader, its large weights as float16 holds them."""
        net = self.trainer(work).net.eval().requires_grad_(False)
        half.round_weights(net)
        return net

    def told(self, work: Path, net: Reader) -> tuple[Told, NDArray[np.int64]]:
        """Vectors of the router split's chunks, and its labels."""
        rows = self.parts.router
        return learning.told(net, self.chunks(work, "train", rows)), self.texts("train").labels[rows]

    def fit_ways(self, work: Path) -> None:
        """What the heads for jumping and skipping learn, from the router split."""
        start, net = time.process_time(), self.reader(work)
        data, labels = self.told(work, net)
        torch.manual_seed(SEED)
        made = Ways(2 * self.shape.memory)
        steps = learning.tried_jumps(net, data, labels, laps=self.laps, temperature=2.0, seed=SEED)
        left = learning.fit_jumps(made, steps, seed=SEED)
        used = skips.fit_gate(
            net, made, data, labels, laps=self.laps, price=self.gate_price, seed=SEED, rounds=GATE_ROUNDS
        )
        half.round_weights(made)
        torch.save(made.state_dict(), work / "ways.pt")
        seconds = time.process_time() - start
        told = {"jump_error": left, "gate_looks": used, "seconds": round(seconds, 1)}
        (work / "ways.json").write_text(json.dumps(told))
        print(told, flush=True)

    def ways(self, work: Path) -> Ways:
        """The fitted heads."""
        made = Ways(2 * self.shape.memory)
        made.load_state_dict(torch.load(work / "ways.pt", weights_only=True))
        return made.eval().requires_grad_(False)


def titled(
    name: str,
    router: str,
    description: str,
    laps: int,
    *,
    parameters: Mapping[str, Any] | None = None,
    default_agreement: float | None = None,
) -> package.Title:
    """Title of a reader's package."""
    return package.Title(
        name=name,
        version="1.0.0",
        modality="text",
        task="classification",
        family=router,
        router=router,
        description=description,
        laps=laps,
        zeros=STATES,
        files=(TOKENIZER,),
        parameters=parameters or {},
        default_agreement=default_agreement,
    )


@dataclass(frozen=True)
class ReaderRecipe:
    """One package of a corpus."""

    module: str
    corpus: Corpus
    title: package.Title
    words: str
    stages: tuple[str, ...] = ("read",)
    order: Order = "ends"
    """Of full walks that are held against the package; all but `ends` begin with the last chunk."""

    @abstractmethod
    def fitted(self, work: Path, macs: Mapping[str, int]) -> tuple[Arrays, NDArray[np.float64]]:
        """The router's tables, from the router split, and the prices of the path."""

    def prepare(self, work: Path, _: Path) -> None:
        """Tokenizer and chunks, unless they are there."""
        if not (work / "devtest.npz").is_file():
            self.corpus.prepare(work)

    def train(self, work: Path, _: Path) -> None:
        """The reader, unless it is trained."""
        self.corpus.train(work)

    def ways(self, work: Path, _: Path) -> None:
        """The ways, unless they are fitted."""
        if not (work / "ways.pt").is_file():
            self.corpus.fit_ways(work)

    def export(self, work: Path, folder: Path) -> None:
        """Write the graphs and the tokenizer, and prove the graphs equal to the network."""
        folder.mkdir(parents=True, exist_ok=True)
        net, ways = self.corpus.reader(work), self.corpus.ways(work)
        worst = {}
        for name in self.stages:
            look = Look(net, ways, whole=name == "read").eval()
            worst[name] = written(look, folder, self.corpus.chunks(work, "devtest").tokens[:64])
        export.require_parity(worst)
        (folder / TOKENIZER).write_bytes((work / TOKENIZER).read_bytes())
        (work / f"{self.title.name}-parity.json").write_text(json.dumps(worst, indent=1))

    def entries(self, folder: Path) -> list[dict[str, Any]]:
        """The stages' entries in the manifest: one loop."""
        corpus, at = self.corpus, [0 if self.order == "ends" else -1]
        glimpses: dict[str, dict[str, Any]] = {
            "tokens": {
                "glimpse": "tokens",
                "count": corpus.shape.tokens,
                "chars": corpus.chars,
                "file": TOKENIZER,
                "at": at,
            },
            "chunk": {"glimpse": "chunk", "chars": corpus.chars, "at": at},
            "chunks": {"glimpse": "chunks", "chars": corpus.chars},
        }
        made = []
        for name in self.stages:
            roles = {f"{port}_next": {"state": port} for port in STATES}
            file = folder / f"{name}.onnx"
            made.append(package.stage_entry(file, self.stages, glimpses, exit_name=name, roles=roles))
        return made

    def calibrate(self, work: Path, folder: Path) -> None:
        """Fit the router on its split, record the calibration split, write the manifest; walk devtest."""
        entries, parts = self.entries(folder), self.corpus.parts
        tables, prices = self.fitted(work, {entry["name"]: int(entry["macs_per_row"]) for entry in entries})
        data = self.corpus.texts("train")
        drafted = package.draft(folder, self.title, entries, data.classes, tables)
        labels = data.labels[parts.calibration]
        record = walked(drafted, self.corpus.chunks(work, "train", parts.calibration), prices).record(prices, labels)
        arrays = tables | record | {"router_index": parts.router, "calibration_index": parts.calibration}
        found = package.write(folder, self.title, entries, data.classes, arrays, self.provenance(work))
        walks = walked(found, self.corpus.chunks(work, "devtest"), prices)
        np.savez(work / f"{self.title.name}-devtest.npz", allow_pickle=False, **asdict(walks))

    def provenance(self, work: Path) -> dict[str, Any]:
        """How the package came to be, for its manifest."""
        trainer = self.corpus.trainer(work)
        worst = json.loads((work / f"{self.title.name}-parity.json").read_text())
        return {
            "recipe": self.module,
            "seed": SEED,
            "data": self.corpus.source,
            "splits_sha256": self.corpus.parts.hashes(),
            "epochs": f"{trainer.epoch} of {trainer.plan.epochs}",
            "train_minutes": round(trainer.seconds / 60, 1),
            "machine": f"1 thread, {platform.machine()}, torch {torch.__version__}",
            "parity_max_abs": {name: float(f"{difference:.1e}") for name, difference in worst.items()},
            "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
        }

    def time(self, work: Path, folder: Path) -> None:
        """Milliseconds of a look, and of making its tokens, on one thread; in a quiet minute."""
        measured = {name: look_ms(folder / f"{name}.onnx") for name in self.stages}
        words, texts = Tokenizer.from_file(str(folder / TOKENIZER)), self.corpus.texts("devtest").texts
        passages = [text[: self.corpus.chars] for text in texts[:400]]
        start = time.perf_counter()
        for passage in passages:
            words.encode(passage)
        measured["tokens"] = (time.perf_counter() - start) / len(passages) * 1e3
        (work / f"{self.title.name}-ms.json").write_text(json.dumps(measured))

    def card(self, work: Path, folder: Path) -> None:
        """Write the model card and its pictures from what devtest said."""
        name, found = self.title.name, load(folder)
        with np.load(work / f"{name}-devtest.npz") as saved:
            walks = Traversal(**saved)
        findings = reader_card.find(
            found,
            walks,
            self.corpus.texts("devtest"),
            self.corpus.chunks(work, "devtest"),
            json.loads((work / f"{name}-ms.json").read_text()),
            self.statics(work, found),
        )
        reader_card.write(findings, found, self.words, self.module, folder)

    def statics(self, work: Path, found: Package) -> list[reader_card.Static]:
        """Baselines on devtest: the same net reading the first so many chunks of every text, whatever it says; and the
        words and pairs that are counted, alone.
        """
        rows, data = self.corpus.parts.train, self.corpus.texts("devtest")
        test = self.corpus.chunks(work, "devtest")
        logits = answers(self.corpus.reader(work), test, full_walks(test.chunks, self.corpus.laps, self.order))
        macs = found.manifest.stages[0].macs_per_row
        train = self.corpus.chunks(work, "train", rows), self.corpus.texts("train").labels[rows]
        return reader_card.statics(logits, test, data.labels, macs, train, self.corpus.shape)

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Command line."""
        phases = {
            "prepare": self.prepare,
            "train": self.train,
            "ways": self.ways,
            "export": self.export,
            "calibrate": self.calibrate,
            "time": self.time,
            "card": self.card,
        }
        folders = (
            Folder("work", Path(f"build/{self.corpus.name}"), "the reader and logs"),
            Folder("package", Path(f"models/zoo/{self.title.name}")),
        )
        torch.set_num_threads(1)  # steps of the memory are too small to share
        command.run(self.module, phases, folders, arguments)


def written(look: Look, folder: Path, tokens: NDArray[np.integer]) -> float:
    """Write one graph, its large weights as float16; the largest difference from torch at batches of 1, 2 and 7."""
    file = folder / f"{look.name}.onnx"
    export.write_stage(look, example(look, tokens, 2), file)
    onnx.save(half.store_half(onnx.load(file)), file)
    graph, worst = export.session(file), 0.0
    for rows in export.BATCHES:
        given = example(look, tokens, rows)
        with torch.no_grad():
            expected = look(*given)
        made = export.run(graph, {name: each.numpy() for name, each in zip(look.ports.inputs, given, strict=True)})
        for name, each in zip(look.ports.outputs, expected, strict=True):
            worst = float(np.maximum(worst, np.abs(made[name] - each.numpy()).max()))
    return worst


def example(look: Look, tokens: NDArray[np.integer], rows: int) -> tuple[torch.Tensor, ...]:
    """Chunks of real texts, and a memory that has read two of them."""
    cell = look.net.memory
    chunk = torch.full((rows, 1), 3.0)
    with torch.no_grad():
        memory = torch.zeros(rows, look.net.shape.state)
        for start in (rows, 2 * rows):
            seen = torch.from_numpy(tokens[start : start + rows].astype(np.int64))
            memory = cell.read(memory, look.net.chunks(seen))
    given = torch.from_numpy(tokens[:rows].astype(np.int32))
    return given, chunk, chunk + 2, memory, torch.zeros(rows, MARKS)


def look_ms(file: Path, rounds: int = 200) -> float:
    """Median milliseconds of one row on one thread."""
    graph = export.session(file)
    given = {
        port.name: np.ones((1, *port.shape[1:]), np.int32 if "int32" in port.type else np.float32)
        for port in graph.get_inputs()
    }
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        export.run(graph, given)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken) * 1e3)


def walked(found: Package, data: Chunked, prices: NDArray[np.float64]) -> Traversal:
    """Walks of texts by the package's own router."""
    return traverse(Stages.of(found.manifest, found.path), build(found), ChunkViews(data), prices)


def stop_prices(tables: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Prices at which some walk changes."""
    return menu(np.unique(tables["stop_worth"]))


def unrouted(corpus: Corpus, work: Path, order: Order) -> tuple[Answers, NDArray[np.int64]]:
    """Walks of the router split from both ends that nothing stops, and its labels."""
    rows = corpus.parts.router
    data = corpus.chunks(work, "train", rows)
    logits = answers(corpus.reader(work), data, full_walks(data.chunks, corpus.laps, order))
    return Answers(logits, np.minimum(data.chunks, corpus.laps)), corpus.texts("train").labels[rows]
