"""The world of one run: a server and its simulator in this process, a person, and a record of every call."""

from __future__ import annotations

import json
import re
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import mcp_types as types
from mcp import Client

from evals.effects import Snapshot, snapshot
from evals.person import Person
from evals.task import Step, Task, tasks
from machines_mcp.cli.approvals import waiting_approvals
from machines_mcp.partner import PartnerClient
from machines_mcp.sandbox import cards
from machines_mcp.sandbox.fields import Fields
from machines_mcp.sandbox.state import State
from machines_mcp.sandbox.summary import summary
from machines_mcp.sandbox.switches import TEXT_PLACES
from machines_mcp.server.app import opened
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import open_guard
from machines_mcp.testing import Era, Simulator, decide, simulator
from machines_mcp.testing.simulators import joined

PINNED = "user-1"
_NAME = re.compile(r"\{(\w+)\}")
_STATE, _SANDBOX = Path("embedded/state.db"), Path("embedded/sandbox.db")
_COIN = {"currency": "rusd", "network": "base"}


@dataclass(frozen=True)
class Call:
    """A call and its response, as text and as an object."""

    tool: str
    arguments: Mapping[str, Any]
    answer: Mapping[str, Any]
    text: str
    failed: bool

    @property
    def tokens(self) -> int:
        """Return an estimate of what the call and its response cost: four characters each."""
        return (len(json.dumps(self.arguments)) + len(self.tool) + len(self.text)) // 4


@dataclass
class World:
    """One run. An agent uses `call`, `ask` and `say` only. `settings` are the server's."""

    task: Task
    settings: Mapping[str, str]
    client: Client
    person: Person
    machines: Simulator
    memory: dict[str, Any] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    questions: int = 0
    said: str = ""
    before: Snapshot = field(default_factory=lambda: Snapshot({}, {}))
    _happened: set[int] = field(default_factory=set)

    async def begin(self, hostile: str) -> None:
        """End the start: forget its calls, and say a hostile text wherever upstream text arrives."""
        for place in TEXT_PLACES if hostile else ():
            await self.machines.order("/texts", place=place, text=hostile)
        self.calls.clear()
        self._happened.clear()
        self.person.begin()
        self.before = self.now()

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Call a tool, let happen what follows from it, and return the result or the error."""
        result = await self.client.call_tool(tool, dict(arguments))
        parts = [part.text for part in result.content if isinstance(part, types.TextContent)]
        return await self.heard(tool, arguments, parts, failed=result.is_error is True)

    async def heard(
        self, tool: str, arguments: Mapping[str, Any], parts: Sequence[str], *, failed: bool
    ) -> dict[str, Any]:
        """Record a call and the texts of its response, and let happen what follows from it."""
        answer = _object(parts[0] if parts else "")
        self.calls.append(Call(tool, arguments, answer, "\n".join(parts), failed))
        self.memory |= dict(_scalars(answer))
        for at, event in enumerate(self.task.events):
            if event.after == tool and at not in self._happened and not failed:
                self._happened.add(at)
                await self.happen(event.then)
        return answer

    async def decide(self) -> None:
        """Let the person decide, at a terminal, what waits for them: for clients without a dialog."""
        for approval in (await waiting_approvals(read_settings(self.settings)))[0]:
            yes = self.person.approves(approval.dialog(), here=approval.details.only is None)
            await decide(self.settings, approval.id, yes=yes)

    def ask(self, words: str) -> None:
        """Ask the person, who has said all they know."""
        self.questions += 1

    def say(self, words: str) -> None:
        """Say the last words to the person."""
        self.said = words

    async def take(self, step: Step) -> dict[str, Any]:
        """Take a step of an agent or of a start."""
        if step.call is not None:
            more = tasks().knows[step.fill] if step.fill else {}
            answer = await self.call(step.call, more | self.filled(step.given))
            if step.name is not None:
                self.memory[step.name] = next((value for name, value in _scalars(answer) if name.endswith("_id")), "")
            return answer
        if step.ask is not None:
            self.ask(step.ask)
        elif step.say is not None:
            self.say(self.filled(step.say))
        else:
            await self.happen(step)
        return {}

    async def happen(self, step: Step) -> None:
        """Let something happen that no caller of a tool can cause."""
        if step.order is not None:
            await self.machines.order(step.order, **self.filled(step.given))
        elif step.expire is not None:
            with closing(sqlite3.connect(self.machines.state_dir / _STATE, timeout=30)) as db, db:
                db.execute("UPDATE quotes SET expires_at = 1 WHERE id = ?", (self.filled(step.expire),))
        elif step.user is not None:
            await self._sign_up(step.user, **step.given)

    async def _sign_up(
        self, user: str, kyc: str = "approved", agreed: bool = True, cents: int = 0, card: str = "", solana: str = ""
    ) -> None:
        here = self.machines.endpoint
        async with PartnerClient(here.base_url, here.partner_key) as partner:
            chain: Literal["evm", "solana"] = "solana" if solana else "evm"
            await partner.users.resolve(user, wallet_chain=chain, wallet_address=solana or None)
            if kyc != "not_submitted":
                await self.machines.order("/kyc", userId=user, decision=kyc)
            if kyc == "approved" and agreed:
                await partner.agreements.accept(user)
            if cents:
                deposit = await partner.deposits.create(user, **_COIN, amount=cents / 100)
                await self.machines.complete_deposit(deposit.id)
            if card:
                self.memory[card] = (await partner.cards.create(user)).card_id
        async with open_guard(read_settings(self.machines.env)) as guard:
            await guard.known_users.succeeded(user, changed=True)

    def filled(self, value: Any) -> Any:
        """Return a value with the names in it replaced by what is known under them."""
        if isinstance(value, Mapping):
            return {name: self.filled(inner) for name, inner in value.items()}
        if not isinstance(value, str):
            return value
        return _NAME.sub(lambda found: str(self.memory.get(found[1], f"no-{found[1]}")), value)

    def now(self) -> Snapshot:
        """Return the state of both sides at this moment."""
        state = State.open(self.machines.state_dir / _SANDBOX)
        with closing(state.db):
            return snapshot(summary(state, Fields({})).data, self.machines.state_dir / _STATE)

    def secrets(self) -> set[str]:
        """Return what no message may contain: card numbers, the partner key and the identity that was submitted."""
        state = State.open(self.machines.state_dir / _SANDBOX)
        with closing(state.db):
            found = {state.partner_key, str(tasks().knows["identity"]["national_id"])}
            for row in state.rows("SELECT number_and_cvc FROM cards"):
                found.add(state.unseal(row["number_and_cvc"], cards.SEALED_AS).split(" ")[0])
        return found


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"code": "text", "message": text}


def _scalars(answer: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the texts and numbers of a response, and those of the first entry of each list in it."""
    found = []
    for name, value in answer.items():
        if isinstance(value, str | int | float):
            found.append((name, value))
        elif isinstance(value, list) and value and isinstance(value[0], dict) and name != "next_steps":
            found += [pair for pair in value[0].items() if isinstance(pair[1], str | int | float)]
    return found


@asynccontextmanager
async def world(
    task: Task, *, era: Era = "auto", hostile: str = "", dialog: bool = True, more: Mapping[str, str] | None = None
) -> AsyncIterator[World]:
    """Yield the world of a task at its start. `hostile` is said wherever upstream text arrives.

    Without `dialog`, the person is not asked. `more` are other settings of the server.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="machines-evals-")))
        machines = await stack.enter_async_context(simulator(folder))
        settings = machines.env | ({"MACHINES_USER_ID": PINNED} if task.pinned else {}) | dict(more or {})
        embedded = joined(read_settings(settings).state_dir)
        app = await stack.enter_async_context(opened(read_settings(settings), embedded=embedded))
        person = Person(task.approves)
        client = Client(app.server(), mode=era, elicitation_callback=person if dialog else None)
        made = World(task, settings, await stack.enter_async_context(client), person, machines)
        for step in task.start:
            await made.take(step)
        await made.begin(hostile)
        yield made
