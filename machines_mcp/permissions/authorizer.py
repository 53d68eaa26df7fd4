"""The one gate that every call passes: allowed, asked of a person, or refused.

The gate decides from the policy and from the intents' rows. It never reads a call's arguments as permission.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from machines_mcp.permissions.action_class import Effect
from machines_mcp.permissions.approval import Intent
from machines_mcp.permissions.approval_details import Demand, Stakes
from machines_mcp.permissions.approvals import Intents
from machines_mcp.permissions.channels import Ways
from machines_mcp.permissions.cooldown import Barred
from machines_mcp.permissions.policy import Policy, Rule
from machines_mcp.storage.audit_log import Audit, Entry

Verdict = Literal["run", "repeat", "running", "later", "manual", "waiting", "refused", "expired", "mismatch", "barred"]


@dataclass(frozen=True, slots=True)
class Passage:
    """The gate's answer. `intent` is there whenever a person has a say, `bar` where a limit or a pause forbids it.

    A call that was cut short is `manual` where a person must say what became of it, and `later` where that can't be
    told for so many `seconds` yet; `why` is what is known all the same.
    """

    verdict: Verdict
    intent: Intent | None = None
    bar: Barred | None = None
    seconds: float | None = None
    why: str | None = None


class Gate:
    """Applies the policy; `standing_yes` is the operator's `call --approve`, which only `embedded` accepts."""

    def __init__(
        self, policy: Policy, intents: Intents, ways: Ways, audit: Audit, *, standing_yes: bool = False
    ) -> None:
        self.policy = policy
        self._audit = audit
        self._intents = intents
        self._ways = ways
        self._standing_yes = standing_yes
        self.settled: Callable[[str], Awaitable[None]] = _at_once
        """Waits, for a bounded time, until an intent that its own page has taken has its outcome."""
        self.settle: Callable[[Intent], Awaitable[Passage | None]] = _not_known
        """Finds out what became of a call that was cut short; None where its row says so now."""

    def rule(self, effect: Effect, tool: str) -> Rule:
        """What the policy says of such a call."""
        return self.policy.rule(effect, tool)

    async def by_dialog(self, intent: Intent) -> bool:
        """Whether an answer in the client's dialog can decide this."""
        return await self._ways.open_to(intent, "dialog")

    async def decidable(self) -> bool:
        """Whether anybody can grant anything now: outside `embedded` not before a passphrase is set."""
        return await self._ways.usable()

    async def waiting(self, intent_id: str) -> Intent | None:
        """The intent if it waits for a decision."""
        return await self._ways.get(intent_id)

    async def admit(self, demand: Demand) -> None:
        """Let a write through that nobody is asked about, within the limits, and put it in the audit first.

        Raises:
            Barred: A limit forbids it.
            StoreUnavailable: It can't be put in the audit.
        """
        await self._intents.admit(demand)

    def note(
        self,
        demand: Demand | None,
        code: str,
        *,
        kind: Literal["call", "outcome"] = "call",
        intent_id: str | None = None,
    ) -> None:
        """Put in the audit what came of a call that changed nothing, or of a write after it was done.

        Without a `demand` it was of no tool of ours, and what it was called is the model's own text.
        """
        self._audit.note(
            Entry(
                kind=kind,
                tool=None if demand is None else demand.tool,
                effect=None if demand is None else demand.effect.value,
                user_id=None if demand is None else demand.user_id,
                intent_id=intent_id,
                code=code,
            )
        )

    async def resume(self, demand: Demand, intent_id: str) -> Passage:
        """Judge a call that names an intent: run once after a grant, repeat the first answer, or say what lacks."""
        intent = await self._intents.get(intent_id)
        if intent is None or (intent.tool, intent.user_id, intent.digest) != (
            demand.tool,
            demand.user_id,
            demand.digest,
        ):
            return Passage("mismatch")
        if intent.state == "executing" and intent.stakes.only is not None:
            # Its page is at work, and will be done in seconds: that is worth more than "nobody knows".
            await self.settled(intent_id)
            intent = await self._intents.get(intent_id) or intent
        if intent.state == "executing" and not self._intents.running(intent):
            return await self.settle(intent) or await self._judge_anew(intent)
        return await self._judge(intent)

    async def ask(self, demand: Demand, stakes: Stakes) -> Passage:
        """Open an intent for the call, or run it at once where the policy or the operator has said yes before."""
        by = self._said_before(demand) if stakes.only is None else None
        try:
            if by is not None:
                return Passage("run", await self._intents.open_taken(demand, stakes, by))
            return Passage("waiting", await self._intents.open(demand, stakes))
        except Barred as bar:
            return Passage("barred", bar=bar)

    def _said_before(self, demand: Demand) -> Literal["operator", "policy"] | None:
        if self._standing_yes:
            return "operator"
        return "policy" if self.rule(demand.effect, demand.tool) is Rule.ALLOW else None

    async def decide(self, intent: Intent, *, yes: bool) -> Passage:
        """Record what the person said in the dialog. A yes that comes too late, or second, does not run anything."""
        if not yes:
            await self._ways.refuse(intent.id, "dialog")
            return Passage("refused", intent)
        if await self._ways.grant(intent.id, "dialog") == "granted":
            return await self._take(intent)
        return await self._judge_anew(intent)

    async def give_back(self, intent: Intent) -> None:
        """Nothing was begun: let the same call use the grant again."""
        await self._intents.give_back(intent.id)

    async def reopen(self, intent: Intent) -> None:
        """Nothing was begun, and the page that took it is still there: let a person decide it again."""
        await self._intents.reopen(intent.id)

    async def abandon(self, intent: Intent) -> None:
        """The execution has ended and no outcome is kept: it is to be found out."""
        await self._intents.executions.abandon(intent.id)

    async def finish(self, intent: Intent, outcome: str, *, ok: bool, code: str) -> None:
        """Keep the first answer of an execution."""
        await self._intents.finish(intent.id, outcome, ok=ok, code=code)

    async def _judge_anew(self, intent: Intent) -> Passage:
        # Somebody else decided meanwhile, or it is too late: what became of it counts.
        return await self._judge(await self._intents.get(intent.id) or intent)

    async def _judge(self, intent: Intent) -> Passage:
        if intent.state in ("done", "failed"):
            return Passage("repeat", intent)
        if intent.state == "executing":
            return Passage("running", intent)
        if intent.state == "refused":
            return Passage("refused", intent)
        if self._intents.expired(intent):
            return Passage("expired", intent)
        if intent.state == "waiting":
            return Passage("waiting", intent)
        return await self._take(intent)

    async def _take(self, intent: Intent) -> Passage:
        try:
            return Passage("run" if await self._intents.consume(intent) else "running", intent)
        except Barred as bar:
            return Passage("barred", intent, bar)


async def _at_once(intent_id: str) -> None:
    pass


async def _not_known(intent: Intent) -> Passage | None:
    return Passage("manual", intent)
