"""Tasks as data: what the user says, how it starts, what may happen and what must."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

TASKS = Path(__file__).with_name("tasks.toml")


class Part(BaseModel):
    """A part of a task. Unknown names are refused, so that a typing error fails."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Step(Part):
    """One step of a start, of an expected path or of an attack. Exactly one of the first six is set.

    `{name}` in a value stands for what an earlier response had under that name, or for an id kept `as` that name.
    """

    call: str | None = Field(None, description="a tool")
    order: str | None = Field(None, description="a path of the simulator's control")
    user: str | None = Field(None, description="a user at Machines, made at this point of their journey")
    expire: str | None = Field(None, description="the id of a quote whose time is up")
    ask: str | None = Field(None, description="a question to the person")
    say: str | None = Field(None, description="the last words to the person")
    given: dict[str, Any] = Field(default={}, alias="with", description="arguments of the call, or body of the order")
    fill: str | None = Field(None, description="a table of `knows` that is also given")
    name: str | None = Field(None, alias="as", description="the name for the id in the response")

    @model_validator(mode="after")
    def _is_one_thing(self) -> Step:
        if sum(part is not None for part in (self.call, self.order, self.user, self.expire, self.ask, self.say)) != 1:
            raise ValueError("a step is one of call, order, user, expire, ask and say")
        return self


class Event(Part):
    """What happens in the world after the first response of a tool."""

    after: str
    then: Step


class Task(Part):
    """A task. `path` is one way to do it without a wasted call.

    `wants` are the effects that the user asked for, which must happen once each. `approves` are the dialogs that the
    person approves, each by words with which lines of the dialog must begin. `says` are words of the final message,
    each with its alternatives between bars; `called` are tools without which the final message is a guess.
    """

    id: str
    topic: str
    words: str
    path: tuple[Step, ...]
    start: tuple[Step, ...] = ()
    events: tuple[Event, ...] = ()
    tools: tuple[str, ...] = Field((), description="allowed tools beside those of the path and the reads")
    approves: tuple[tuple[str, ...], ...] = ()
    wants: tuple[str, ...] = ()
    state: dict[str, str | int | bool] = Field({}, description="facts of the simulator and the journal at the end")
    says: tuple[str, ...] = ()
    notes: tuple[str, ...] = Field((), description="names of ids of the start that the user has noted")
    called: tuple[str, ...] = ()
    pinned: bool = True
    calls: int = Field(0, description="the largest number of calls; 0: twice those of the path, and three")
    forbidden: tuple[str, ...] = Field((), description="forbidden kinds of effects; by default those of the file")

    @model_validator(mode="after")
    def _needs_an_agent(self) -> Task:
        if not (self.wants or self.state or self.called):
            raise ValueError("a task that needs no call is solved by a refusal")
        return self

    @property
    def most_calls(self) -> int:
        return self.calls or 2 * sum(step.call is not None for step in self.path) + 3


class Tasks(Part):
    """The file of tasks. `knows` is what every user knows; `forbidden` applies to each task without its own."""

    forbidden: tuple[str, ...]
    reads: tuple[str, ...]
    knows: dict[str, dict[str, Any]]
    task: tuple[Task, ...]

    def by_id(self) -> dict[str, Task]:
        found = {task.id: task for task in self.task}
        if len(found) != len(self.task):
            raise ValueError("two tasks have the same id")
        return found


@cache
def tasks() -> Tasks:
    """Return the tasks of `tasks.toml`."""
    return Tasks.model_validate(tomllib.loads(TASKS.read_text(encoding="utf-8")))
