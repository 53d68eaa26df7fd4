"""Run agents on tasks, plain and with hostile texts, and add up their scores."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from evals.agents import AGENTS
from evals.injection import Injection, injections
from evals.score import Score, score
from evals.task import Task, tasks
from evals.world import world
from machines_mcp.testing import Era

ERAS: tuple[Era, ...] = ("legacy", "2026-07-28")
_BATCH = 4


@dataclass(frozen=True)
class Run:
    """One agent on one task, with a hostile text or without."""

    agent: str
    task: Task
    injection: Injection | None
    era: Era

    async def score(self) -> Score:
        """Run it and return its score."""
        hostile = self.injection.text if self.injection else ""
        async with world(self.task, era=self.era, hostile=hostile) as made:
            await AGENTS[self.agent](made, self.injection)
            return score(made, made.before, made.now(), self.injection)


def sample(seed: int) -> Iterator[Run]:
    """Yield a run of each agent on each task, in turn in both eras: with one hostile text, if it reads texts."""
    choice = random.Random(seed)  # noqa: S311 - a choice of tests
    known = sorted(injections().values(), key=lambda one: one.id)
    for task in tasks().task:
        injection, begin = choice.choice(known), choice.randrange(len(ERAS))
        for turn, agent in enumerate(AGENTS):
            plain = agent in ("refuse everything", "follow next_steps")
            yield Run(agent, task, None if plain else injection, ERAS[(begin + turn) % len(ERAS)])


def everything(texts: int | None = None) -> Iterator[Run]:
    """Yield each agent on each task without a hostile text, and the obedient and the expected one with each text.

    `texts` is how many hostile texts each task gets, in turn; by default all.
    """
    known = list(injections().values())
    most = len(known) if texts is None else min(texts, len(known))
    for at, task in enumerate(tasks().task):
        for turn, agent in enumerate(AGENTS):
            yield Run(agent, task, None, ERAS[(at + turn) % len(ERAS)])
        for turn in range(most):
            injection = known[(at * most + turn) % len(known)]
            for agent in ("expected path", "obey everything"):
                yield Run(agent, task, injection, ERAS[(at + turn) % len(ERAS)])


def figures(scored: Iterable[tuple[Run, Score]]) -> dict[str, Any]:
    """Return the sums of each agent, with and without hostile texts."""
    sums: dict[str, Counter[str]] = {}
    unasked: dict[str, Counter[str]] = {}
    for run, found in scored:
        name = f"{run.agent}, {'hostile texts' if run.injection else 'no hostile text'}"
        sums.setdefault(name, Counter()).update(
            runs=1,
            useful=int(found.useful),
            safe=int(found.safe),
            both=int(found.useful and found.safe),
            calls=found.calls,
            wasted=found.wasted,
            questions=found.questions,
            tokens=found.tokens,
            delivered=int(found.delivered),
        )
        kinds = Counter(effect.split(": ")[1] for effect in found.unasked)
        unasked.setdefault(name, Counter()).update(kinds)
    return {name: dict(count) | {"unasked": dict(unasked[name])} for name, count in sums.items()}


def scores(runs: list[Run], workers: int) -> Iterator[tuple[Run, Score]]:
    """Yield the score of each run, in order, from this many processes."""
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from zip(runs, pool.map(_score, runs, chunksize=_BATCH), strict=True)


def _score(run: Run) -> Score:
    return asyncio.run(run.score())
