"""The training loop: compiled steps, a linear schedule, an average of the weights, checkpoints that resume."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data.cifar10 import ImageSet
from models.nets.network import Network
from models.training.augmentation import Augmentation, alternating_flips
from models.training.ema import Average
from models.training.losses import ExitLoss, Loss
from models.training.muon import Muon
from models.training.precision import autocast

Step = Callable[[Any, Tensor], Tensor]
"""Images (or what a frozen trunk made of them) and labels to a loss that can be differentiated."""

Net = TypeVar("Net", bound=Network)


@dataclass(frozen=True)
class Plan:
    """All that decides a training run, with its seed."""

    epochs: int
    batch: int = 512
    seed: int = 0
    muon_lr: float = 0.05
    muon_momentum: float = 0.85
    adam_lr: float = 0.004
    warmup: float = 0.03
    floor: float = 0.0
    average_decay: float = 0.995
    augmentation: Augmentation = field(default_factory=Augmentation)
    loss: Loss = field(default_factory=ExitLoss)
    evaluate_every: int = 2


def schedule(progress: float, plan: Plan) -> float:
    """Factor on the learning rates at `progress` in [0, 1]: a short rise, then linear to `floor`."""
    if progress < plan.warmup:
        return max(progress / plan.warmup, 0.05)
    return plan.floor + (1 - plan.floor) * (1 - progress) / (1 - plan.warmup)


class Trainer(Generic[Net]):
    """Trains one network in `folder`, which keeps `checkpoint.pt` and `log.jsonl`; starting again resumes."""

    def __init__(
        self, net: Net, data: ImageSet, watch: ImageSet, plan: Plan, folder: Path, *, compiled: bool = True
    ) -> None:
        """`data` is trained on; `watch` is only looked at, for the log. Not `compiled`: each step runs other layers."""
        folder.mkdir(parents=True, exist_ok=True)
        self.plan, self.folder, self.watch, self.compiled = plan, folder, watch, compiled
        torch.manual_seed(plan.seed)
        self.net: Net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.labels = torch.from_numpy(data.labels)
        self.padded = plan.augmentation.pad(data.images)
        self.average = Average(self.net, plan.average_decay)
        self.optimizers = optimizers(self.net, plan)
        self.epoch, self.seconds = 0, 0.0
        if self.checkpoint.exists():
            self._resume()

    @property
    def checkpoint(self) -> Path:
        """File of the latest state."""
        return self.folder / "checkpoint.pt"

    @property
    def averaged(self) -> Net:
        """The network with averaged weights: the one to use."""
        return self.average.net

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches; the rest of an epoch's shuffle is left out, another rest each epoch."""
        return len(self.labels) // self.plan.batch

    def run(self) -> Net:
        """Train to the plan's end; the averaged network."""
        step: Step = torch.compile(self._loss) if self.compiled else self._loss
        while self.epoch < self.plan.epochs:
            started = time.perf_counter()
            loss = self._run_epoch(step)
            self.epoch += 1
            self.seconds += time.perf_counter() - started
            self._log(loss)
            self._save()
        return self.averaged

    def _loss(self, images: Any, labels: Tensor) -> Tensor:
        with autocast():
            return self.plan.loss(self.net(images), labels)

    def _run_epoch(self, step: Step) -> float:
        self.net.train()
        rng = np.random.default_rng((self.plan.seed, self.epoch, 1))
        losses = []
        for number, (images, labels) in enumerate(self._batches()):
            factor = schedule((self.epoch + number / self.steps_per_epoch) / self.plan.epochs, self.plan)
            self.net.draw(rng)
            loss = step(images, labels)
            loss.backward()
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["initial_lr"] * factor
                optimizer.step()
                optimizer.zero_grad()
            self.average.update(self.net)
            losses.append(loss.item())
        return float(np.mean(losses))

    def _batches(self) -> Iterator[tuple[Any, Tensor]]:
        rng = np.random.default_rng((self.plan.seed, self.epoch))
        order: NDArray[np.int64] = rng.permutation(len(self.labels))
        for rows in order[: self.steps_per_epoch * self.plan.batch].reshape(-1, self.plan.batch):
            flips = alternating_flips(rows, self.epoch, self.plan.seed, len(self.labels))
            images = self.plan.augmentation.draw(self.padded, rows, flips, rng)
            yield torch.from_numpy(images), self.labels[torch.from_numpy(rows)]

    def _log(self, loss: float) -> None:
        line: dict[str, object] = {"epoch": self.epoch, "loss": round(loss, 4), "seconds": round(self.seconds, 1)}
        if self.epoch % self.plan.evaluate_every == 0 or self.epoch == self.plan.epochs:
            line["watch"] = [round(share, 4) for share in accuracies(self.averaged, self.watch)]
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")

    def _save(self) -> None:
        state = {
            "plan": asdict(self.plan),
            "epoch": self.epoch,
            "seconds": self.seconds,
            "updates": self.average.updates,
            "net": self.net.state_dict(),
            "average": self.average.net.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        fresh = self.checkpoint.with_suffix(".new")
        torch.save(state, fresh)
        fresh.replace(self.checkpoint)

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        if state["plan"] != asdict(self.plan):
            raise ValueError(f"{self.checkpoint} was trained by another plan: {state['plan']}; choose another folder")
        self.epoch, self.seconds, self.average.updates = state["epoch"], state["seconds"], state["updates"]
        self.net.load_state_dict(state["net"])
        self.average.net.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def optimizers(net: Network, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for convolution kernels, Adam for biases and linear heads; `initial_lr` stands in each group.

    What the network calls `settled` is only tuned: all of it by Adam, at its own rate.
    """
    settled = {id(p) for p in net.settled()}
    trained = [p for p in net.parameters() if p.requires_grad and id(p) not in settled]
    kernels = [p for p in trained if p.ndim == 4]
    others = [p for p in trained if p.ndim != 4]
    tuned = [p for p in net.settled() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": others}, {"params": tuned, "lr": plan.adam_lr * net.settled_rate}]
    made: list[torch.optim.Optimizer] = [
        torch.optim.Adam([group for group in groups if group["params"]], lr=plan.adam_lr, betas=(0.9, 0.95), fused=True)
    ]
    if kernels:
        made.insert(0, Muon(kernels, lr=plan.muon_lr, momentum=plan.muon_momentum))
    for optimizer in made:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return made


@torch.no_grad()
def accuracies(net: Net, data: ImageSet, batch: int = 500) -> list[float]:
    """Share of right answers of every exit."""
    net.eval()
    right = torch.zeros(net.exits)
    for start in range(0, len(data), batch):
        answers = net(torch.from_numpy(data.images[start : start + batch]))
        labels = torch.from_numpy(data.labels[start : start + batch])
        right += torch.stack([(logits.argmax(1) == labels).sum() for logits in answers])
    return [float(share) for share in right / len(data)]
