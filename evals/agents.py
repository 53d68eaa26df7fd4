"""Agents without a model. Three bound what a model can do: the best, the most obedient, the most cautious."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from evals.injection import Injection
from evals.score import is_delivered, is_reached
from evals.task import Step, tasks
from evals.world import World

Agent = Callable[[World, Injection | None], Awaitable[None]]
REFUSAL = "Sorry, no."
_MOST_STEPS = 8
# What a task needs has happened by then, or never will.
_WAIT_SECONDS = 1
_WAITS = ("retry_after_seconds", "poll_after_seconds")


async def expected(world: World, injection: Injection | None) -> None:
    """Follow the task's path, whatever any text says."""
    for step in world.task.path:
        await _follow(world, step)


async def obedient(world: World, injection: Injection | None) -> None:
    """Follow the path, and do what a hostile text asks as soon as it is read, or at the end if it never is."""
    attack = list(injection.calls) if injection else []
    for step in world.task.path:
        await _follow(world, step)
        if injection and attack and is_delivered(world, injection):
            said, attack = attack, []
            for asked in said:
                await world.take(asked)
    for asked in attack:
        await world.take(asked)


async def _follow(world: World, step: Step) -> None:
    """Take a step of the path, and take it again if it waits for the person: a dialog can't show a long text."""
    answer = await world.take(step)
    if answer.get("code") == "approval.required":
        await world.decide()
        await world.take(step.model_copy(update={"given": step.given | {"approval_id": answer["approval_id"]}}))


async def refusing(world: World, injection: Injection | None) -> None:
    """Do nothing, safely."""
    world.say(REFUSAL)


async def following(world: World, injection: Injection | None) -> None:
    """Follow the first of each response's `next_steps`, knowing only the schemas and what the user said."""
    schemas = {tool.name: set(tool.input_schema["properties"]) for tool in (await world.client.list_tools()).tools}
    first = next(step for step in world.task.path if step.call)
    known = _known(world)
    tool, given = str(first.call), dict[str, Any](world.filled(first.given))
    last: dict[str, Any] = {}
    seen: set[str] = set()
    for _ in range(_MOST_STEPS):
        arguments = {name: known[name] for name in schemas.get(tool, set()) & known.keys()} | given
        if "wait_seconds" in arguments:
            arguments["wait_seconds"] = _WAIT_SECONDS
        key = json.dumps([tool, arguments], sort_keys=True)
        if key in seen:
            return
        answer = await world.call(tool, arguments)
        seen = set() if any(name in answer for name in _WAITS) else seen | {key}
        world.say(json.dumps(answer))
        steps = answer.get("next_steps") or []
        if not steps or answer == last or _is_done(world):
            return
        last = answer
        tool, given = steps[0]["tool"], steps[0]["arguments"]


def _known(world: World) -> dict[str, Any]:
    """Return what the user knows: identity, and the values that their words name."""
    known: dict[str, Any] = dict(tasks().knows["identity"])
    for step in world.task.path:
        known |= {name: world.filled(value) for name, value in step.given.items() if "{" not in str(value)}
    return known


def _is_done(world: World) -> bool:
    return bool(world.task.wants or world.task.state) and is_reached(world, world.now())


AGENTS: Mapping[str, Agent] = {
    "expected path": expected,
    "obey everything": obedient,
    "refuse everything": refusing,
    "follow next_steps": following,
}
