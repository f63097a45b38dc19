"""The reader's graphs: one look at a chunk, whole or in part, with all that any of the reader's routers asks for.

All packages of one reader share these graphs; which of the ways they tell is taken is the router's choice. Beside the
answer and the memory a look tells where it was (`at`), how many chunks there are (`size`), which were read (`done`),
what each jump is worth (`jumps`), and how soon to look again (`gate`).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.export import GraphStage, StagePorts
from models.nets.reader import Reader
from service.routing.reading import JUMPS, MARKS

FEATURES = 4
"""Numbers of where the walk is, beside the memory, that the ways are judged by."""


class Ways(nn.Module):
    """What may be done next, from the memory and the place in the text.

    `jumps` [rows, len(JUMPS)]: how much likelier the true class is expected to become by reading there (LSTM-Jump, ACL
    2017, learns such a policy by REINFORCE; here the gains are measured and regressed). `gate` [rows, 2] in 0..1: the
    step of Skip-RNN (ICLR 2018), whose sum decides which chunk is read next, and how much a whole look is
    to be preferred to one in part (Skim-RNN, ICLR 2018).
    """

    def __init__(self, width: int, hidden: int = 32) -> None:
        super().__init__()
        self.jumps = nn.Sequential(nn.Linear(width + FEATURES, hidden), nn.ReLU(), nn.Linear(hidden, len(JUMPS)))
        self.step = nn.Sequential(nn.Linear(width + FEATURES, hidden), nn.ReLU(), _level(hidden, 0.0))
        self.depth = nn.Sequential(nn.Linear(width + FEATURES, hidden), nn.ReLU(), _level(hidden, 0.5))

    def forward(self, seen: Tensor, logits: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """[rows, width] of the memory, [rows, classes], and [rows, 3] at, size, how many were read."""
        felt = torch.cat([seen, features(logits, place)], dim=1)
        return self.jumps(felt), torch.sigmoid(self.gate_logits(felt))

    def gate_logits(self, felt: Tensor) -> Tensor:
        """What the gate is the sigmoid of: [rows, 2]."""
        return torch.cat([self.step(felt), self.depth(felt)], dim=1)


def _level(hidden: int, at: float) -> nn.Linear:
    """A last layer that says the same of everything until it is trained."""
    layer = nn.Linear(hidden, 1)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, at)
    return layer


def features(logits: Tensor, place: Tensor) -> Tensor:
    """[rows, FEATURES]: the answer's probability, and where the walk is."""
    at, size, read = place.split(1, dim=1)
    size = size.clamp(min=1)
    sure = functional.softmax(logits, dim=1).max(1, keepdim=True).values
    rest = (size - read).clamp(min=0)
    return torch.cat([sure, (at + 1) / size, rest / (rest + 4), 1 / (read + 1)], dim=1)


def marked(done: Tensor, at: Tensor) -> Tensor:
    """Which chunks were read, [rows, MARKS] of zeros and ones, once chunk `at` [rows, 1] is."""
    return torch.maximum(done, (torch.arange(MARKS, dtype=done.dtype) == at).to(done.dtype))


class Look(GraphStage):
    """A look at a chunk: `read` updates the whole memory, `skim` a part."""

    def __init__(self, net: Reader, ways: Ways, *, whole: bool) -> None:
        super().__init__()
        self.net, self.ways, self.whole = net, ways, whole
        self.name = "read" if whole else "skim"
        self.ports = StagePorts(
            ("tokens", "chunk", "chunks", "memory", "done"),
            ("memory_next", "done_next", "at", "size", "jumps", "gate", "logits"),
        )

    def forward(
        self, tokens: Tensor, chunk: Tensor, chunks: Tensor, memory: Tensor, done: Tensor
    ) -> tuple[Tensor, ...]:
        """int32 [rows, tokens], float32 [rows, 1] twice, the states; see `ports`."""
        words, cell = tokens.to(torch.int64), self.net.memory
        if self.whole:
            memory = cell.read(memory, self.net.chunks(words))
        else:
            memory = cell.skim(memory, self.net.chunks.part(words))
        done = marked(done, chunk)
        at, size = chunk + 0, chunks + 0
        logits = cell.logits(memory)
        jumps, gate = self.ways(cell.seen(memory), logits, torch.cat([at, size, done.sum(1, keepdim=True)], dim=1))
        return memory, done, at, size, jumps, gate, logits
