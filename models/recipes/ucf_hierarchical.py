"""Make the package ucf-hierarchical again: a coarse network at every moment, the fine one when a gate asks.

    python -m models.recipes.ucf_hierarchical [--phase PHASE] [--work DIR] [--cache DIR] [--package DIR]

Phases: train, export, calibrate, time, card; without one, all of them in this order. OFFRAMP_DATA names the data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import package
from models.calibration.clip_walks import StopRule, knobs_by_price, stopped
from models.calibration.stops import stop_tables
from models.export import GraphStage
from models.nets.clips import PoolHead, See
from models.nets.coarse_fine import Coarse, Gate, Merge
from models.recipes.clip_recipe import SEED, Arrays, Trained, entry
from models.recipes.ucf import DEFAULT_AGREEMENT, FIRST, MOMENTS, ORDER, Fitting, UcfRecipe, coarse_heads, fine_heads
from models.training.gates import train_gate

WORDS = """Each lap of a loop is one moment, in the order of ucf-frames. `coarse`, the backbone's own first five steps
on an 80x64 frame, runs at every moment, updates its part of the state, answers, and tells how much the fine network
would bring (`ask`). Where that reaches a threshold that rises with the price, `see` runs, the backbone at full size,
and `merge` updates the fine part of the state; elsewhere that part stays as it is (LiteEval, NeurIPS 2019; the
partial update of AdaFuse, ICLR 2021, by whole parts of the state instead of channels). Both answer: a walk may stop
after either."""
LOSES = """The coarse network alone is much weaker (74 to 80 %): at prices where it answers by itself, those clips are
what is lost. Down to 6 % of the full walk's compute the gate and the exits keep the accuracy."""
SHARE = 0.3
"""Of the coarse logits in the answer once the fine network has run."""
KNOBS = 9
"""Settings of the gate that are tried for each price."""
DRAWS = (0.1, 0.3, 0.6)
"""How often the fine network runs on the walks that the gate learns from."""


class HierarchicalRecipe(UcfRecipe):
    """Coarse, see, merge."""

    def trained(self, data: Fitting) -> Trained:
        """See `ClipRecipe.trained`."""
        fines, classes = fine_heads(data), len(data.clips.classes)
        coarse_features, fine_features = data.coarse(), data.fine()
        coarses = coarse_heads(data)
        nets = [Pair(coarse, fine) for coarse, fine in zip(coarses, fines, strict=True)]
        felt, gains = self.lessons(data, nets, coarse_features, fine_features)
        gates = [train_gate(Gate(classes), felt, gains, rows, seed=SEED) for rows, _ in data.parts()]
        walks = [Walk(net, gate) for net, gate in zip(nets, gates, strict=True)]
        asks = held_out_walks(data, walks, coarse_features, fine_features, 0.0).asks
        grid = np.array([0.0, *np.quantile(asks, np.linspace(0.1, 0.98, KNOBS - 1))], np.float32)
        told = [held_out_walks(data, walks, coarse_features, fine_features, float(knob)) for knob in grid]
        coarse = Coarse(data.cache.coarse, nets[-1].coarse, SHARE, gates[-1])
        stages = [coarse, See(data.cache.backbone), Merge(nets[-1].fine, SHARE)]
        arrays = {
            "grid": grid,
            "logits": np.stack([each.logits for each in told]),
            "ran": np.stack([each.ran for each in told]),
        }
        return Trained(stages, arrays)

    def lessons(
        self, data: Fitting, nets: Sequence["Pair"], coarse: Tensor, fine: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """What the gate feels, by input [n, samples, ..], and how much the fine network raised the true class's
        probability there [n, samples]; on walks at random, by nets that never saw the clip's group."""
        random, n = np.random.default_rng(SEED), len(data.labels)
        widths = (len(data.clips.classes), coarse.shape[2], 1, 1)
        felt = [[torch.zeros(n, MOMENTS, width) for width in widths] for _ in DRAWS]
        gains = [torch.zeros(n, MOMENTS) for _ in DRAWS]
        for part, gain, draw in zip(felt, gains, DRAWS, strict=True):
            runs = random.random((MOMENTS, n)) < draw
            for net, (_, rows) in zip(nets, data.parts()[:-1], strict=False):
                told, gain[rows] = net.lesson(coarse[rows], fine[rows], runs[:, rows], data.labels[rows])
                for whole, values in zip(part, told, strict=True):
                    whole[rows] = values
        return tuple(torch.cat(each, dim=1) for each in zip(*felt, strict=True)), torch.cat(gains, dim=1)

    def tables(self, told: Arrays, labels: NDArray[np.int64], macs: Mapping[str, int]) -> Arrays:
        """See `ClipRecipe.tables`."""
        fine = macs["see"] + macs["merge"]
        exit_macs = np.cumsum([macs["coarse"], fine] * MOMENTS)
        found = stop_tables(told["logits"][0], labels, exit_macs)
        rule = StopRule.of(found)

        def judged(price: float, knob: float) -> tuple[float, float]:
            setting = int(np.flatnonzero(told["grid"] == np.float32(knob))[0])
            ran = told["ran"][setting]
            took = np.stack([np.ones_like(ran), ran], axis=1).reshape(2 * MOMENTS, -1)
            right, place = stopped(rule, found["temperature"], told["logits"][setting], took, labels, price)
            fines = np.cumsum(took * (np.arange(2 * MOMENTS) % 2)[:, None], axis=0)[place, np.arange(len(labels))]
            cost = (place // 2 + 1) * macs["coarse"] + fines * fine
            return float(right.mean()), float(cost.mean() / 1e9)

        prices = [price for price in rule.prices.tolist() if np.isfinite(price)][::4]
        knob_prices, knobs = knobs_by_price(prices, told["grid"].tolist(), judged)
        return found | {"knob_prices": knob_prices, "knobs": knobs}

    def entries(self, folder: Path, stages: Mapping[str, GraphStage]) -> list[dict[str, Any]]:
        """See `ClipRecipe.entries`."""
        return [
            entry(folder, stages["coarse"], ["see", "coarse"], at=FIRST, exit_name="coarse"),
            entry(folder, stages["see"], ["merge"], at=FIRST),
            entry(folder, stages["merge"], ["coarse"], exit_name="fine"),
        ]


@dataclass(frozen=True)
class Pair:
    """The two heads of one fold."""

    coarse: PoolHead
    fine: PoolHead

    @torch.no_grad()
    def lesson(
        self, coarse: Tensor, fine: Tensor, runs: NDArray[np.bool_], labels: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """On walks [16 laps, n] that run the fine network at random: what a gate feels at each lap, and what it
        gains."""
        walk = Walk(self, Gate(self.coarse.linear.out_features))
        return walk.felt(coarse, fine, runs, labels)


@dataclass(frozen=True)
class Told:
    """Walks: logits [32 exits, n, classes], whether the fine network ran [16, n], and what the gate said [16, n]."""

    logits: NDArray[np.float32]
    ran: NDArray[np.bool_]
    asks: NDArray[np.float32]


@dataclass(frozen=True)
class Walk:
    """Walks of one fold's nets in torch, by the very stages that are exported."""

    pair: Pair
    gate: Gate

    @torch.no_grad()
    def told(self, coarse: Tensor, fine: Tensor, knob: float) -> Told:
        """Walks that don't stop, from features [n, 16, 112] and [n, 16, 1280]; the last lap is always fine."""
        first, merge = self._stages()
        state, f_logits, fine_state = self._start(coarse, fine)
        logits, ran, asks = [], [], []
        for lap, moment in enumerate(ORDER):
            given = (coarse[:, moment], *state, f_logits, fine_state[2])
            *state, votes, ask, answer = first.updated(*given)
            runs = (ask[:, 0] >= knob) | (lap == MOMENTS - 1)
            *after, merged, final = merge(fine[:, moment], *fine_state, votes)
            fine_state = [torch.where(runs[:, None], new, old) for new, old in zip(after, fine_state, strict=True)]
            f_logits = torch.where(runs[:, None], merged, f_logits)
            logits += [answer, torch.where(runs[:, None], final, answer)]
            ran.append(runs)
            asks.append(ask[:, 0])
        return Told(*(torch.stack(each).numpy() for each in (logits, ran, asks)))

    def felt(
        self, coarse: Tensor, fine: Tensor, runs: NDArray[np.bool_], labels: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """See `Pair.lesson`."""
        first, merge = self._stages()
        state, f_logits, fine_state = self._start(coarse, fine)
        felt: list[list[Tensor]] = [[], [], [], []]
        gains, every = [], torch.arange(len(labels))
        for lap, moment in enumerate(ORDER):
            apart = (coarse[:, moment] - state[1] / state[2].clamp(min=1)).abs()
            given = (coarse[:, moment], *state, f_logits, fine_state[2])
            *state, votes, _, answer = first.updated(*given)
            *after, merged, final = merge(fine[:, moment], *fine_state, votes)
            for part, value in zip(felt, (answer, apart, state[2], fine_state[2]), strict=True):
                part.append(value)
            gains.append(torch.softmax(final, dim=1)[every, labels] - torch.softmax(answer, dim=1)[every, labels])
            ran = torch.from_numpy(runs[lap])[:, None]
            fine_state = [torch.where(ran, new, old) for new, old in zip(after, fine_state, strict=True)]
            f_logits = torch.where(ran, merged, f_logits)
        return [torch.stack(part, dim=1) for part in felt], torch.stack(gains, dim=1)

    def _stages(self) -> tuple[Coarse, Merge]:
        return Coarse(None, self.pair.coarse, SHARE, self.gate), Merge(self.pair.fine, SHARE)  # type: ignore[arg-type]

    def _start(self, coarse: Tensor, fine: Tensor) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        n = len(coarse)
        blank, wide, none = torch.zeros(n, coarse.shape[2]), torch.zeros(n, fine.shape[2]), torch.zeros(n, 1)
        return [blank, blank, none], torch.zeros(n, self.pair.fine.linear.out_features), [wide, wide, none]


def held_out_walks(data: Fitting, walks: Sequence[Walk], coarse: Tensor, fine: Tensor, knob: float) -> Told:
    """Walks at one setting of the gate, by nets that never saw the clip's group."""
    n, classes = len(data.labels), walks[0].pair.fine.linear.out_features
    logits = np.zeros((2 * MOMENTS, n, classes), np.float32)
    ran, asks = np.zeros((MOMENTS, n), bool), np.zeros((MOMENTS, n), np.float32)
    for walk, (_, rows) in zip(walks, data.parts()[:-1], strict=False):
        told = walk.told(coarse[rows], fine[rows], knob)
        logits[:, rows], ran[:, rows], asks[:, rows] = told.logits, told.ran, told.asks
    return Told(logits, ran, asks)


RECIPE = HierarchicalRecipe(
    module="models.recipes.ucf_hierarchical",
    title=package.Title(
        name="ucf-hierarchical",
        version="1.0.0",
        modality="video",
        task="classification",
        family="hierarchical-update",
        router="hierarchical",
        description="Nine actions in short clips (UCF-101): a coarse network at every moment, the fine one when asked "
        "for.",
        laps=MOMENTS,
        zeros=("c_best", "c_total", "c_count", "c_logits", "f_logits", "best", "total", "count"),
        default_agreement=DEFAULT_AGREEMENT,
    ),
    words=WORDS,
    loses=LOSES,
)

if __name__ == "__main__":
    RECIPE.main()
