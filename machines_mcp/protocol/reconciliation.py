"""What became of granted calls that were cut short: by a crash, a lost answer, or a disk that was full.

Each is looked into by its tool's `settle`, at the server's start and when a call names it. Of many servers over one
folder, and many calls in one, a single one does so at a time. What comes of it is kept as if the call had ended so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import anyio

from machines_mcp.permissions.approval import Intent
from machines_mcp.permissions.authorizer import Passage
from machines_mcp.permissions.executions import EXECUTION_SECONDS
from machines_mcp.permissions.factory import Guard
from machines_mcp.protocol.approval_errors import not_done
from machines_mcp.protocol.errors import Refusal
from machines_mcp.protocol.execution import Running, shaped
from machines_mcp.protocol.tool import Call, Done, Later, Manual, NotDone, Settled, Tool
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.failpoints import point
from machines_mcp.storage.journal import Doing, Entry, OnlyLook

logger = logging.getLogger(__name__)

START_SECONDS = 60.0
"""How long the start goes on with what can't be told yet; after it, calls that name it do."""
CALL_SECONDS = 20.0
"""How long a call waits until it can be told."""
AGAIN_SECONDS = 5.0
"""After a look that failed: Machines can't be reached, say."""
_AT_ONCE = 4

_Closed: TypeAlias = Literal["done", "rejected", "manual"]


class Settling:
    """Looks into calls that were cut short. `tools` are all there are: one may be switched off since."""

    def __init__(self, guard: Guard, tools: Mapping[str, Tool], running: Running, services: Any) -> None:
        self._guard = guard
        self._tools = tools
        self._running = running
        self._services = services
        self._looks: dict[str, _Look] = {}

    async def settle(self, intent: Intent) -> Passage | None:
        """Find out, within 20 seconds, what became of this intent: None once its row says so."""
        until = anyio.current_time() + CALL_SECONDS
        while True:
            passage = await self._look(intent)
            pause = passage.seconds if passage is not None else None
            if pause is None or anyio.current_time() + pause > until:
                return passage
            await anyio.sleep(pause)

    async def settle_all(self) -> None:
        """Look into all that was cut short, for at most a minute; what a person must say is left to them."""
        with anyio.move_on_after(START_SECONDS):
            while (pause := await self._round()) is not None:  # noqa: ASYNC110 - time is all that is waited for
                await anyio.sleep(pause)

    async def _round(self) -> float | None:
        """Look into each once. The seconds until the next round, None where none is needed."""
        pauses: list[float] = []
        places = anyio.Semaphore(_AT_ONCE)

        async def one(intent: Intent) -> None:
            async with places:
                passage = await self._look(intent)
            if passage is not None and passage.seconds is not None:
                pauses.append(passage.seconds)

        try:
            cut_short = await self._guard.intents.executions.cut_short()
            async with anyio.create_task_group() as tasks:
                for intent in cut_short:
                    tasks.start_soon(one, intent)
            await self._close_the_rest({intent.id for intent in cut_short})
        except StoreUnavailable:
            return AGAIN_SECONDS
        return max(1.0, min(pauses)) if pauses else None

    async def _close_the_rest(self, cut_short: set[str]) -> None:
        """Entries that no intent waits for: of what nobody is asked about, all of which may be done twice; and of what
        has its outcome, but could not be written here."""
        for entry in await self._guard.journal.unresolved():
            if entry.state == "manual" or entry.intent_id in cut_short:
                continue
            intent = None if entry.intent_id is None else await self._guard.intents.get(entry.intent_id)
            if intent is None or intent.state != "executing":
                happened = intent is not None and intent.state == "done"
                await self._guard.journal.settle(entry.id, "done" if happened else "unknown")

    async def _look(self, intent: Intent) -> Passage | None:
        """Look once, or wait for who does so already."""
        look = self._looks.get(intent.id)
        if look is not None:
            await look.over.wait()
            return look.passage
        look = self._looks[intent.id] = _Look(Passage("later", intent, seconds=AGAIN_SECONDS))
        try:
            # As for a call that runs: once begun, nobody who gives up leaves it half known.
            with anyio.move_on_after(EXECUTION_SECONDS, shield=True):
                look.passage = await self._looked_into(intent)
        finally:
            del self._looks[intent.id]
            look.over.set()
        return look.passage

    async def _looked_into(self, intent: Intent) -> Passage | None:
        if intent.owner is None:
            # Taken before there was a journal, so that it holds nothing proves nothing.
            return Passage("manual", intent)
        taken = await self._guard.intents.executions.take_over(intent.id)
        if taken is None:
            return None
        point("settling.begun")
        try:
            passage = await self._settled(taken)
        except BaseException as error:
            await self._guard.intents.executions.abandon(intent.id)
            if not isinstance(error, Exception):
                raise
            logger.error("what became of a call could not be found out: %s", type(error).__name__)
            return Passage("later", taken, seconds=AGAIN_SECONDS)
        point("settling.ended")
        return passage

    async def _settled(self, intent: Intent) -> Passage | None:
        entries = await self._guard.journal.of_intent(intent.id)
        settled = await self._ask(intent, entries)
        match settled:
            case Done(output, reference):
                await self._close(intent, "done", reference)
                await self._running.keep(intent, shaped(output))
            case NotDone(why):
                await self._close(intent, "rejected")
                await self._undo(intent, why)
            case Manual(why):
                await self._close(intent, "manual", note=why)
                await self._guard.intents.executions.abandon(intent.id)
                return Passage("manual", intent)
            case Later(seconds, why):
                await self._guard.intents.executions.abandon(intent.id)
                return Passage("later", intent, seconds=seconds, why=why)
        return None

    async def _ask(self, intent: Intent, entries: Sequence[Entry]) -> Settled:
        waits = [entry.note or "" for entry in entries if entry.state == "manual"]
        if waits:
            # Once a person is called, nothing is decided behind their back.
            return Manual(waits[0])
        tool = self._tools.get(intent.tool)
        if tool is None or tool.settle is None:
            return Manual("This version has no way to find out whether it happened.")
        call = Call(intent.user_id, intent.idempotency_key, self._services, _tell_nobody)
        # What another policy let through may be looked for, but is not sent once more.
        other_policy = intent.policy != self._guard.policy.digest
        about = Doing(intent.id, tool.name, intent.user_id, only_look=other_policy)
        try:
            return await self._running.explained(tool, tool.settle(call, intent, entries), about)
        except Refusal as refusal:
            logger.warning("what became of a call can't be found out now: %s", refusal.code.value)
            return Later(AGAIN_SECONDS)
        except OnlyLook:
            return Manual("It would have to be sent once more, and the policy has changed since it was allowed.")

    async def _close(
        self, intent: Intent, state: _Closed, reference: str | None = None, note: str | None = None
    ) -> None:
        # Read anew: looking may have sent it again.
        for entry in await self._guard.journal.of_intent(intent.id):
            if entry.state in ("pending", "unknown"):
                await self._guard.journal.settle(entry.id, state, reference, note=note)

    async def _undo(self, intent: Intent, why: str) -> None:
        """Give the grant back, where it can still be used; else the call has failed."""
        if intent.stakes.only is None and self._guard.intents.good(intent):
            await self._guard.gate.give_back(intent)
        else:
            await self._running.fail(intent, not_done(intent, why))


class _Look:
    """One look under way, which all wait for who would look as well."""

    def __init__(self, passage: Passage | None) -> None:
        self.passage = passage
        self.over = anyio.Event()


async def _tell_nobody(fraction: float, message: str) -> None:
    pass
