"""Running a tool's function: what it may raise, what is kept of it, and the shield round what was granted."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio

from machines_mcp.permissions.approval import Intent
from machines_mcp.permissions.authorizer import Gate
from machines_mcp.permissions.executions import EXECUTION_SECONDS
from machines_mcp.protocol.approval_errors import in_doubt
from machines_mcp.protocol.errors import NOT_BEGUN, Code, Refusal, Step
from machines_mcp.protocol.responses import STATUS
from machines_mcp.protocol.tool import Call, Input, Output, Tool
from machines_mcp.redaction.message_masking import Masking
from machines_mcp.redaction.verbatim import collect
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.journal import Doing, doing

logger = logging.getLogger(__name__)

T = TypeVar("T")

MOST_USERS = 50
# Nothing was changed, and a person who mends the form, or sends it again, may have it pass.
_MENDABLE = NOT_BEGUN | {Code.INPUT_INVALID, Code.PARTNER_REJECTED}


@dataclass(frozen=True, slots=True)
class Ran:
    """What a tool returned: what may be stored, a sentence, what one answer adds, what it shows to the letter."""

    outcome: dict[str, Any]
    says: str
    once: dict[str, str]
    opaque: frozenset[str]


class Running:
    """`explain` knows upstream's errors; `shows` says whether a text holds a secret and so must not be kept."""

    def __init__(
        self,
        gate: Gate,
        explain: Callable[[Exception, Tool], Refusal | None],
        shows: Callable[[str], bool],
    ) -> None:
        self._gate = gate
        self._explain = explain
        self.shows = shows
        self.users: dict[str, None] = {}
        """The users that calls went well for, the oldest first; at most 50."""

    async def run(self, tool: Tool, call: Call[Any], arguments: Input) -> Ran:
        """Run the tool.

        Raises:
            Refusal: An error of the catalogue.
        """
        return await self._run(tool, call, arguments, Doing(None, tool.name, call.user_id))

    async def _run(self, tool: Tool, call: Call[Any], arguments: Input, about: Doing) -> Ran:
        output: Output = await self.explained(tool, tool.run(call, arguments), about)
        if call.user_id:
            self.users[call.user_id] = None
            if len(self.users) > MOST_USERS:
                del self.users[next(iter(self.users))]
        return shaped(output)

    async def explained(self, tool: Tool, work: Awaitable[T], about: Doing | None = None) -> T:
        """The result of `work`, or what is known of why there is none. In the journal it stands under `about`."""
        was = doing.set(about)
        try:
            return await work
        except (Refusal, StoreUnavailable):
            raise
        except Exception as error:
            refusal = self._explain(error, tool)
            if refusal is None:
                raise
        finally:
            doing.reset(was)
        raise refusal

    async def execute(self, tool: Tool, call: Call[Any], arguments: Input, intent: Intent) -> Ran:
        """Run what a person granted. Shielded: once it has begun, a cancelled call must not leave it half known.

        Raises:
            Refusal: An error of the catalogue. It is the call's outcome, unless nobody knows that yet.
            StoreUnavailable: Nothing was asked of Machines, because it could not have been remembered.
        """
        about = Doing(intent.id, tool.name, call.user_id)
        with anyio.CancelScope(shield=True):
            try:
                with anyio.fail_after(EXECUTION_SECONDS):
                    ran = await self._run(tool, call, arguments, about)
            except Refusal as refusal:
                raise await self._refused(intent, refusal) from None
            except BaseException as error:
                # The row stays `executing`: whether it happened is to be found out.
                await self._gate.abandon(intent)
                sent_nothing = isinstance(error, StoreUnavailable) and tool.settle is not None and not about.begun
                if sent_nothing or not isinstance(error, Exception):
                    raise
                logger.error("a granted call ended unforeseen: %s", type(error).__name__)
                raise in_doubt(intent, see=[STATUS]) from None
            await self.keep(intent, ran)
        return ran

    async def keep(self, intent: Intent, ran: Ran) -> None:
        """Keep the outcome of a granted call, to be given again to a repeated one."""
        # What the guard would mask on its way out must not lie in the state folder either.
        await self._keep(intent, Masking(ran.opaque).masked(ran.outcome), "ok", ok=True)

    async def fail(self, intent: Intent, refusal: Refusal) -> None:
        """Keep a refusal as the outcome of a granted call."""
        await self._keep(intent, refusal.payload(), refusal.code.value, ok=False)

    async def _refused(self, intent: Intent, refusal: Refusal) -> Refusal:
        if refusal.code is Code.OUTCOME_UNKNOWN:
            await self._gate.abandon(intent)
            seconds = refusal.details.get("retry_after_seconds")
            if isinstance(seconds, int):
                # The tool knows what it is that is not finished, and when to come back.
                return in_doubt(intent, seconds, why=refusal.message)
            return in_doubt(intent, see=refusal.next_steps)
        if intent.stakes.only == "form" and refusal.code in _MENDABLE:
            await self._reopened(intent)
            return refusal
        if refusal.code in NOT_BEGUN:
            return await self._given_back(intent, refusal)
        await self.fail(intent, refusal)
        return refusal

    async def _reopened(self, intent: Intent) -> None:
        """The person sits before the form still, with what they typed."""
        try:
            await self._gate.reopen(intent)
        except StoreUnavailable:
            await self._gate.abandon(intent)
            logger.error("a form that was not sent could not be opened again")

    async def _given_back(self, intent: Intent, refusal: Refusal) -> Refusal:
        if intent.stakes.only is not None:
            # Its page is gone by now, and nothing else can use the grant.
            await self.fail(intent, refusal)
            return refusal
        try:
            await self._gate.give_back(intent)
        except StoreUnavailable:
            await self._gate.abandon(intent)
            logger.error("a grant that was not used could not be given back")
            return refusal
        why = "The same call again in a moment; within 5 minutes of the approval nobody is asked again."
        return Refusal(
            refusal.code,
            message=refusal.message,
            details=refusal.details | {"approval_id": intent.id},
            next_steps=[Step(intent.tool, why, {"approval_id": intent.id}), *refusal.next_steps],
        )

    async def _keep(self, intent: Intent, outcome: dict[str, Any], code: str, *, ok: bool) -> None:
        kept = json.dumps(outcome)
        if self.shows(kept):
            # Nor will the answer itself leave; whoever repeats the call is told to look at the state.
            unknown = Refusal(Code.OUTCOME_UNKNOWN, next_steps=[STATUS])
            kept, ok, code = json.dumps(unknown.payload()), False, unknown.code.value
        try:
            await self._gate.finish(intent, kept, ok=ok, code=code)
        except StoreUnavailable:
            # What happened, happened, and is told; a repeated call will find the row still `executing`.
            await self._gate.abandon(intent)
            logger.error("the outcome of a granted call could not be stored")


def shaped(output: Output) -> Ran:
    """What a tool returned, taken apart."""
    kept = output.model_dump(mode="json", exclude_none=True)
    return Ran(kept, output.says(), output.once(), frozenset(collect(output)))
