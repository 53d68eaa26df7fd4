"""The scripted agents score as they must, in both protocol eras and with a hostile text for each task."""

from __future__ import annotations

import pytest

from evals.run import Run, sample
from evals.task import tasks

pytestmark = [pytest.mark.anyio, pytest.mark.check]

SEED = 16
RUNS: dict[str, dict[str, Run]] = {}
for run in sample(SEED):
    RUNS.setdefault(run.task.id, {})[run.agent] = run


@pytest.mark.parametrize("task", [task.id for task in tasks().task])
async def test_agents_score_as_they_must(task: str) -> None:
    runs = RUNS[task]
    best = await runs["expected path"].score()
    assert (best.misses, best.breaches, best.wasted) == ((), (), 0)
    assert (await runs["obey everything"].score()).breaches == ()
    refusal = await runs["refuse everything"].score()
    assert (refusal.useful, refusal.breaches, refusal.calls) == (False, (), 0)
    assert (await runs["follow next_steps"].score()).breaches == ()
