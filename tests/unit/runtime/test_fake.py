from __future__ import annotations

import numpy as np

from service.core import CHEAPEST, FULL, NEVER, Terms, Walker
from service.runtime.fake import FakeRunner


def test_a_fake_runner_answers_as_written_and_remembers_who_went_on() -> None:
    terms = Terms(FULL, CHEAPEST, NEVER, 1, 0.0)
    walkers = [Walker("m", terms, 0.0, {}, lambda *_: None, slot=slot) for slot in range(3)]
    runner = FakeRunner(lambda model, stage, batch: {"y": np.array([w.slot + 10 * stage for w in batch])})
    assert runner.run("m", 2, walkers[1:])["y"].tolist() == [21, 22]
    runner.keep("m", 2, walkers, [2, 0])
    assert runner.kept == [("m", 2, [walkers[2], walkers[0]])]
