"""The one gate that every call passes: allowed, asked of a person, or refused.

The gate decides from the policy and from the intents' rows. It never reads a call's arguments as permission.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from machines_mcp.guard.effect import Effect
from machines_mcp.guard.intents import Decider, Intent, Intents
from machines_mcp.guard.policy import Policy, Rule

Verdict = Literal["run", "repeat", "running", "waiting", "refused", "expired", "mismatch"]


@dataclass(frozen=True, slots=True)
class Demand:
    """A validated call as the gate sees it."""

    tool: str
    effect: Effect
    user_id: str
    digest: str


@dataclass(frozen=True, slots=True)
class Passage:
    """The gate's answer. `intent` is there whenever a person has a say."""

    verdict: Verdict
    intent: Intent | None = None


class Gate:
    """Applies the policy; `standing_yes` is the operator's `call --approve`, which only `embedded` accepts."""

    def __init__(self, policy: Policy, intents: Intents, *, standing_yes: bool = False) -> None:
        self.policy = policy
        self._intents = intents
        self._standing_yes = standing_yes

    def rule(self, effect: Effect, tool: str | None = None) -> Rule:
        """What the policy says of a class, or of a tool's calls of it."""
        return self.policy.rule(effect, tool)

    async def resume(self, demand: Demand, intent_id: str) -> Passage:
        """Judge a call that names an intent: run once after a grant, repeat the first answer, or say what lacks."""
        intent = await self._intents.get(intent_id)
        if intent is None or (intent.tool, intent.user_id, intent.digest) != (
            demand.tool,
            demand.user_id,
            demand.digest,
        ):
            return Passage("mismatch")
        return await self._judge(intent)

    async def ask(self, demand: Demand, question: str) -> Passage:
        """Open an intent for the call, or run it at once where the operator has said yes to everything."""
        intent = await self._intents.open(demand.tool, demand.effect, demand.user_id, demand.digest, question)
        if self._standing_yes:
            return await self.decide(intent, yes=True, by="operator")
        return Passage("waiting", intent)

    async def decide(self, intent: Intent, *, yes: bool, by: Decider) -> Passage:
        """Record a decision. A yes that comes too late, or second, does not run anything."""
        if not yes:
            await self._intents.refuse(intent.id, by)
            return Passage("refused", intent)
        if await self._intents.grant(intent.id, by):
            return await self._take(intent)
        # Somebody else decided meanwhile, or it is too late: what became of it counts.
        current = await self._intents.get(intent.id)
        return await self._judge(current or intent)

    async def give_back(self, intent: Intent) -> None:
        """Nothing was begun: let the same call use the grant again."""
        await self._intents.give_back(intent.id)

    def abandon(self, intent: Intent) -> None:
        """The execution has ended and no outcome is kept."""
        self._intents.abandon(intent.id)

    async def finish(self, intent: Intent, outcome: str, *, ok: bool) -> None:
        """Keep the first answer of an execution."""
        await self._intents.finish(intent.id, outcome, ok=ok)

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
        return Passage("run" if await self._intents.consume(intent) else "running", intent)
