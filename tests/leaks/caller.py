"""A caller of a server: completes a user's journey, then makes random calls and counts their outcomes."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.leaks.arguments import Arguments, PendingCall
from tests.leaks.browser import RecordingBrowser
from tests.leaks.canaries import Canaries
from tests.leaks.server import Answer, RecordedServer
from tests.leaks.upstream import ProxyUpstream

JOURNEY = ("create_session", "resolve_user", "submit_kyc", "get_kyc_status", "accept_agreements", "create_deposit")
# A reveal starts a process, so reveals are rare; otherwise they would take up the whole run.
REVEALS = 0.02
# Tools that need neither money nor a card.
_NEEDY = frozenset({"valid", "odd", "reveal", "approval", "approve", "slow", "resource"})
_METHODS = (
    "tools/listt", "logging/setLevel", "sampling/createMessage", "resources/subscribe", "rpc.discover", "tasks/list",
    "elicitation/create", "ping", "roots/list", "server/discover", "initialize", "tools/list", "prompts/list",
    "resources/list", "resources/templates/list",
)  # fmt: skip


@dataclass
class Tally:
    """Counts of tool calls, of those that reached the API, of other messages, and of each outcome."""

    calls: int = 0
    reached: int = 0
    others: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    """Total seconds of calls, by outcome."""
    questions: int = 0

    def add(self, other: Tally) -> None:
        """Add another tally to this one."""
        self.calls += other.calls
        self.reached += other.reached
        self.others += other.others
        self.questions += other.questions
        self.outcomes += other.outcomes
        self.seconds += other.seconds


@dataclass(frozen=True)
class Listing:
    """A server's tools with their schemas and its prompts with their argument names."""

    tools: Mapping[str, Mapping[str, Any]]
    prompts: tuple[tuple[str, tuple[str, ...]], ...]

    @classmethod
    async def of(cls, server: RecordedServer) -> Listing:
        """Request the lists."""
        tools = (await server.send_request("tools/list", {}))["result"]["tools"]
        prompts = (await server.send_request("prompts/list", {}))["result"]["prompts"]
        return cls(
            {tool["name"]: tool["inputSchema"] for tool in tools},
            tuple((p["name"], tuple(argument["name"] for argument in p.get("arguments", ()))) for p in prompts),
        )


@dataclass
class RandomApprover:
    """The person who answers dialogs: nearly always yes, seldom no (which starts a cooldown), sometimes nonsense."""

    rng: random.Random
    canaries: Canaries
    tally: Tally
    refusals: int = 2
    always: str | None = None

    def __call__(self, question: str) -> Answer:
        self.tally.questions += 1
        chance = self.rng.random()
        if self.always is not None:
            return {"result": {"action": self.always, "content": {"decision": "approve"}}}
        if chance < 0.03 and self.refusals > 0:
            self.refusals -= 1
            return {"result": {"action": "decline"}}
        secret = self.rng.choice(self.canaries.typed).sample
        if chance < 0.08:
            return {"result": {"action": "cancel"}}
        if chance < 0.11:
            return {"error": {"code": -32000, "message": secret, "data": {"a": secret}}}
        if chance < 0.14:
            return {"result": {"action": secret}}
        if chance < 0.17:
            content = {"yes": secret, secret: 1} if chance < 0.155 else {"decision": secret}
            return {"result": {"action": "accept", "content": content}}
        return {"result": {"action": "accept", "content": {"decision": "approve"}}}


class RandomCaller:
    """Calls `server` for one user. `only` limits the kinds of calls (see `KINDS`) and `tools` the tools; None means
    all."""

    def __init__(
        self,
        server: RecordedServer,
        upstream: ProxyUpstream,
        rng: random.Random,
        offer: Listing,
        tally: Tally,
        *,
        user: str,
        browser: RecordingBrowser,
        pinned: bool = False,
        only: tuple[str, ...] | None = None,
        tools: tuple[str, ...] | None = None,
    ) -> None:
        self.server = server
        self.upstream = upstream
        self.rng = rng
        self.tally = tally
        self.user = user
        self.browser = browser
        self.arguments = Arguments(rng, upstream.canaries, offer.tools, None if pinned else user)
        self._offer = offer
        self._tools = list(tools or offer.tools)
        self._kinds = [kind for kind in KINDS if only is None or kind in only]

    async def journey(self) -> None:
        """Sign up and get funded, with an upstream that injects no faults."""
        self.upstream.calm.add(self.user)
        steps = JOURNEY if _NEEDY & set(self._kinds) else JOURNEY[:2]
        for tool in steps:
            await self.call_until_success(tool)
        for deposit in self.arguments.known.deposits[-1:]:
            await self.upstream.control("/deposits", depositId=deposit)
        if steps is JOURNEY:
            await self.call_until_success("create_card")
        self.upstream.calm.discard(self.user)

    async def call_until_success(self, tool: str) -> None:
        """Call a tool until it succeeds, since a dialog's answer may be nonsense."""
        for _ in range(6):
            given = self.arguments.valid(tool)
            if tool == "create_deposit":
                given |= {"currency": "rusd", "network": "base", "amount": 1000}
            if tool == "resolve_user":
                given.pop("wallet_address", None)
            outcome = await self.call(tool, given)
            if outcome == "approval.required":
                outcome = await self.approve_and_repeat(self.arguments.known.approvals[-1])
            if outcome == "ok":
                return

    async def approve_and_repeat(self, waiting: PendingCall) -> str:
        """Have the person approve if they can, and repeat the call."""
        form = f"/kyc/{waiting.approval_id}"
        if waiting.page is not None and waiting.page.endswith(form):
            await self.browser.fill_in(waiting.page.removesuffix(form), waiting.approval_id, self.arguments.identity())
        elif waiting.page is not None:
            await self.browser.see_card(waiting.page)
        elif waiting.desk is not None:
            await self.browser.approve(waiting.desk, waiting.approval_id)
        return await self.call(waiting.tool, waiting.given | {"approval_id": waiting.approval_id})

    async def step(self) -> None:
        """Make one random call."""
        (kind,) = self.rng.choices(self._kinds, [KINDS[kind][0] for kind in self._kinds])
        await KINDS[kind][1](self)

    # Tool calls.

    async def call(self, tool: str, given: object, meta: Mapping[str, Any] | None = None) -> str:
        """Call a tool and count its outcome."""
        before, begun = self.upstream.requests[self.user], time.monotonic()
        answer = await self.server.call(tool, given, meta=meta or {})
        self.tally.calls += 1
        self.tally.reached += self.upstream.requests[self.user] > before
        outcome = self._outcome(answer, tool, given)
        named = tool if tool in self._offer.tools else "(no such tool)"
        self.tally.outcomes[f"{named}: {outcome}"] += 1
        self.tally.seconds[f"{named}: {outcome}"] += time.monotonic() - begun  # type: ignore[assignment]
        return outcome

    def _outcome(self, answer: Mapping[str, Any], tool: str, given: object) -> str:
        if not answer:
            return "no answer"
        if "error" in answer:
            return f"{answer['error'].get('code')} {answer['error'].get('message')}"[:40]
        result = answer["result"]
        if result.get("resultType") == "input_required":
            return "asked again"
        if not result.get("isError"):
            body = result.get("structuredContent") or {}
            for part in (body, *body.get("cards", ())):
                self.arguments.known.learn(part)
            return "ok"
        body = _object(result["content"][0]["text"])
        if "approval_id" in body and isinstance(given, dict):
            waiting = PendingCall(tool, given, body["approval_id"], body.get("desk"), body.get("page"))
            self.arguments.known.approvals.append(waiting)
            del self.arguments.known.approvals[:-10]
        return str(body.get("code"))

    async def valid(self) -> None:
        """Make a valid call."""
        await self.call(tool := self._tool(), self.arguments.valid(tool))

    async def odd(self) -> None:
        """Make a call at the edge of validity."""
        await self.call(tool := self._tool(), self.arguments.odd(tool))

    async def wrong(self) -> None:
        """Make an invalid call that contains secrets."""
        secret = self.arguments.secret
        if self.rng.random() < 0.1:
            await self.call(secret(), {"a": secret(), secret(): 1})
            return
        tool = self._tool()
        meta = {"traceparent": secret(), secret()[:40]: secret()} if self.rng.random() < 0.2 else {}
        await self.call(tool, self.arguments.wrong(tool), meta)

    async def reveal(self) -> None:
        """Reveal a card in the vault."""
        self.upstream.calm.add(self.user)
        sinks = self._offer.tools["reveal_card"]["properties"]["sink"].get("enum", ["none"])
        given = self.arguments.valid("reveal_card") | {"sink": self.rng.choice(sinks)}
        outcome = await self.call("reveal_card", given)
        if outcome == "approval.required":
            outcome = await self.approve_and_repeat(self.arguments.known.approvals[-1])
        self.upstream.calm.discard(self.user)
        if outcome == "not_found":
            await self.call_until_success("create_card")

    async def approval(self) -> None:
        """Make a call with an approval id: its own, another call's, a modified one or a made-up one."""
        made_up = PendingCall("create_card", {"user_id": self.user}, "ab" * 16, None, None)
        waiting = self.rng.choice(self.arguments.known.approvals or [made_up])
        tool, given, approval = waiting.tool, waiting.given, waiting.approval_id
        chance = self.rng.random()
        if chance < 0.3:
            given = self.arguments.valid(tool)
        elif chance < 0.5:
            approval = self.rng.choice(["0" * 32, self.arguments.secret(), self.rng.randbytes(16).hex()])
        await self.call(tool, given | {"approval_id": approval})

    async def approve(self) -> None:
        """Approve a pending call at the desk, or only look at the desk."""
        waiting = [known for known in self.arguments.known.approvals if known.desk is not None]
        if waiting and waiting[-1].desk is not None:
            await self.browser.look(waiting[-1].desk)
            await self.approve_and_repeat(self.rng.choice(waiting))

    async def slow(self) -> None:
        """Make a call with progress reports, or cancel a call midway."""
        tool = "get_deposit"
        # The newest request has not arrived yet.
        await self.call_until_success("create_deposit")
        given = self.arguments.valid(tool) | {"wait_seconds": 1}
        if self.arguments.known.deposits:
            given["deposit_id"] = self.arguments.known.deposits[-1]
        await self.call(tool, given, {"progressToken": self.server.new_id()})
        number = self.server.new_id()
        line = self.server.request("tools/call", {"name": tool, "arguments": given}, number=number)
        answer = asyncio.create_task(self.server.response_to(number, line))
        await asyncio.sleep(self.rng.random() * 0.2)
        params = {"requestId": number, "reason": self.arguments.secret()}
        self.server.notify({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
        await asyncio.sleep(0.05)
        self.server.forget(number)
        await answer
        self.tally.calls += 1

    def _tool(self) -> str:
        while True:
            tool = self.rng.choice(self._tools)
            if tool != "reveal_card" or self.rng.random() < REVEALS:
                return tool

    # Other requests.

    async def send_request(self, method: str, params: Mapping[str, Any], name: str | None = None) -> None:
        """Send a request that is not a tool call, and count its outcome."""
        answer = await self.server.send_request(method, params)
        self.tally.others += 1
        outcome = "ok" if "result" in answer else str(answer.get("error", {}).get("code", "no answer"))
        self.tally.outcomes[f"{name or method}: {outcome}"] += 1

    async def resource(self) -> None:
        """Read a resource or an unknown address."""
        cards = self.arguments.known.cards
        prefix = f"machines://users/{self.user}/"
        places = ["journey", *(prefix + path for path in ("kyc/fields", "agreements", "transactions"))]
        places += [prefix + f"cards/{card}" for card in cards[-2:]] + ["machines://journey"]
        if self.rng.random() < 0.4:
            secret = self.arguments.secret()
            places = [f"machines://{secret}", prefix + f"cards/{secret}", secret, f"file:///{secret}"]
        await self.send_request("resources/read", {"uri": self.rng.choice(places)})

    async def prompt(self) -> None:
        """Get a prompt with ordinary arguments, or an unknown prompt."""
        if self.rng.random() < 0.3:
            await self.send_request(
                "prompts/get", {"name": self.arguments.secret(), "arguments": {"a": self.arguments.secret()}}
            )
            return
        name, places = self.rng.choice(self._offer.prompts)
        given = {place: self.arguments.number() for place in places if place != "user_id"}
        await self.send_request("prompts/get", {"name": name, "arguments": given})

    async def completion(self) -> None:
        """Request a completion for a known name or for a secret."""
        name = self.rng.choice(["user_id", "card_id", "currency", "network", "limit", self.arguments.secret()])
        typed = self.rng.choice(["", "u", self.arguments.secret()])
        reference = {"type": "ref/prompt", "name": self.arguments.secret()}
        params = {"ref": reference, "argument": {"name": name, "value": typed}}
        await self.send_request("completion/complete", params, None)

    async def unknown(self) -> None:
        """Call an unknown method, or a known one with unknown parameters."""
        secret = self.arguments.secret
        method = self.rng.choice([*_METHODS, secret(), f"tools/{secret()}"])
        params: dict[str, Any] = {secret(): [secret()], "level": secret(), "uri": secret(), "cursor": secret()}
        await self.send_request(method, params, method if method in _METHODS else "(no such method)")

    async def malformed(self) -> None:
        """Send a malformed line and then a valid request, which shows that the first was read."""
        secret = self.arguments.secret
        lines: list[bytes] = [
            b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": ' + secret().encode(),
            json.dumps({"jsonrpc": "2.0", "method": secret(), "params": {"a": secret()}}).encode(),
            json.dumps({"jsonrpc": "1.0", "id": 5, "method": secret()}).encode(),
            json.dumps({"jsonrpc": "2.0", "id": {"a": secret()}, "method": "tools/call"}).encode(),
            json.dumps({"jsonrpc": "2.0", "id": "zz", "result": {"a": secret()}}).encode(),
            json.dumps({"jsonrpc": "2.0", "id": "zz", "error": {"code": secret(), "message": secret()}}).encode(),
            json.dumps([secret(), {secret(): secret()}]).encode(),
            json.dumps(secret()).encode(),
            secret().encode().replace(b"\n", b" "),
            b"\xff\xfe" + secret().encode("utf-16-le").replace(b"\n", b" "),
            json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": [secret()]}).encode(),
            json.dumps({"jsonrpc": "2.0", "id": 8, "method": "tools/call", "params": {"x": secret()}}).encode(),
        ]
        self.server.send_line(self.rng.choice(lines))
        await self.send_request("tools/list", {}, "(malformed)")

    async def catalogue(self) -> None:
        """Request the lists."""
        for method in ("tools/list", "prompts/list", "resources/list", "resources/templates/list"):
            await self.send_request(method, {})


KINDS: dict[str, tuple[float, Callable[[RandomCaller], Awaitable[None]]]] = {
    "valid": (56, RandomCaller.valid),
    "odd": (10, RandomCaller.odd),
    "wrong": (14, RandomCaller.wrong),
    "reveal": (2, RandomCaller.reveal),
    "approval": (5, RandomCaller.approval),
    "approve": (0.7, RandomCaller.approve),
    "slow": (0.7, RandomCaller.slow),
    "resource": (4, RandomCaller.resource),
    "prompt": (2, RandomCaller.prompt),
    "completion": (3, RandomCaller.completion),
    "unknown": (3, RandomCaller.unknown),
    "malformed": (3, RandomCaller.malformed),
    "catalogue": (0.3, RandomCaller.catalogue),
}
"""The relative frequency and the method of each kind of step."""


def _object(text: str) -> dict[str, Any]:
    """Parse the object at the start of a text. The scanner reads the rest."""
    try:
        found, _ = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
