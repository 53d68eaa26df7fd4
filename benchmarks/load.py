"""Put a constant rate of calls on one server, whatever their outcome, from users who come and go."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.wire import CLIENT, Command
from machines_mcp.tools.example_identity import IDENTITY

ERA = "2026-07-28"
PATIENCE = 120.0
_ENVELOPE = "io.modelcontextprotocol/"
_MAX_BYTES = 1 << 22

# The calls and their weights: mostly reads, as models make them, and some of every mutation.
MIX: Mapping[str, int] = {
    "get_balances": 24, "list_cards": 12, "get_card": 12, "list_transactions": 10, "status": 8, "get_kyc_status": 6,
    "list_deposits": 6, "quote_withdrawal": 4, "lock": 5, "unlock": 3, "create_deposit": 3, "create_card": 5,
    "create_withdrawal": 2,
}  # fmt: skip
USERS = 24
# Then a new user takes the place, because no user has a hundred cards.
CALLS_OF_A_USER = 150
MAX_TRIES = 5
AT_ONCE = 8
_TO = {"currency": "rusd", "network": "base", "address": "0x" + "7c" * 20, "admin_address": "0x" + "7a" * 20}
_LIMIT = {"limit_amount_cents": 5000, "limit_frequency": "per30DayPeriod"}


@dataclass(frozen=True)
class Sample:
    """One result: when the call was made (seconds since the start), how long it took, and its code."""

    at: float
    tool: str
    milliseconds: float
    code: str


@dataclass
class Speaker:
    """A server process that can have any number of calls in flight."""

    process: asyncio.subprocess.Process
    _waiting: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    _next: int = 0

    def __post_init__(self) -> None:
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, command: Command, errors: Path) -> Speaker:
        """Start the server, with its stderr in `errors`."""
        with errors.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *command.arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                env=dict(command.environment),
                limit=_MAX_BYTES,
            )
        return cls(process)

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Call a tool, approving if asked. Return the code (`ok` or the error's) and the result object."""
        result = await self._ask(tool, arguments, {})
        if result.get("resultType") == "input_required":
            yes = {name: {"action": "accept", "content": {"decision": "approve"}} for name in result["inputRequests"]}
            result = await self._ask(tool, arguments, {"requestState": result["requestState"], "inputResponses": yes})
        body: dict[str, Any] = json.loads(result["content"][0]["text"])
        return (str(body["code"]) if result.get("isError") else "ok"), body

    async def close(self) -> None:
        """Close stdin and wait for the server to exit."""
        assert self.process.stdin
        self.process.stdin.close()
        async with asyncio.timeout(10):
            await self._reading
            await self.process.wait()

    async def _ask(self, tool: str, arguments: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
        self._next += 1
        number, found = self._next, asyncio.get_running_loop().create_future()
        self._waiting[number] = found
        meta = {
            f"{_ENVELOPE}protocolVersion": ERA,
            f"{_ENVELOPE}clientInfo": CLIENT,
            f"{_ENVELOPE}clientCapabilities": {"elicitation": {"form": {}}},
        }
        params = {"name": tool, "arguments": dict(arguments), "_meta": meta, **more}
        line = json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})
        assert self.process.stdin
        self.process.stdin.write(line.encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            message: dict[str, Any] = await found
        result: dict[str, Any] = message["result"]
        return result

    async def _read(self) -> None:
        assert self.process.stdout
        while line := await self.process.stdout.readline():
            message = json.loads(line)
            found = self._waiting.pop(message.get("id", 0), None)
            if found is not None and not found.done():
                found.set_result(message)
        for found in self._waiting.values():
            if not found.done():
                found.set_exception(ConnectionError("the server exited"))


@dataclass
class User:
    """An onboarded user with money to spend."""

    name: str
    left: int = CALLS_OF_A_USER
    withdrew: bool = False
    cards: deque[str] = field(default_factory=lambda: deque(maxlen=5))


class Load:
    """Calls from `USERS` users at a time. Each is sent on schedule, even if earlier ones have not finished."""

    def __init__(self, speaker: Speaker, seed: int) -> None:
        self._speaker = speaker
        self._rng = random.Random(seed)  # noqa: S311
        self._made = 0
        self._begun = 0.0
        self._users: list[User] = []
        self.samples: list[Sample] = []
        self.unknown_at_first = 0
        """Calls whose outcome was unknown at first."""
        self.settled = 0
        """Those of them that were resolved by repeating the call with its id."""

    async def prepare(self) -> None:
        """Create the first users before the measurement."""
        for _ in range(0, USERS, AT_ONCE):
            self._users += await asyncio.gather(*(self._arrived() for _ in range(AT_ONCE)))
        self.samples.clear()

    async def run(self, seconds: float, rate: float) -> None:
        """Send `rate` calls a second for this long, then wait for the last results."""
        self._begun = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in range(int(seconds * rate)):
                await asyncio.sleep(max(0.0, self._begun + number / rate - time.monotonic()))
                place = self._rng.randrange(USERS)
                user = self._users[place]
                user.left -= 1
                if user.left == 0:
                    tasks.create_task(self._follow(place))
                tasks.create_task(self._act(user))

    async def _follow(self, place: int) -> None:
        """Replace the user in this place, once the new one is onboarded."""
        self._users[place] = await self._arrived()

    async def _arrived(self) -> User:
        self._made += 1
        user = User(f"soak-{self._made}")
        for tool, arguments in (
            ("resolve_user", {}),
            ("submit_kyc", dict(IDENTITY)),
            ("accept_agreements", {}),
            ("create_deposit", {"currency": "rusd", "network": "base", "amount": 500}),
        ):
            for _ in range(MAX_TRIES):
                code, _ = await self._call(tool, {"user_id": user.name} | arguments)
                if code == "ok":
                    break
        return user

    async def _call(self, tool: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Call a tool, and repeat it with its id if the outcome is unknown. Only the first call is sampled."""
        at = time.monotonic()
        code, body = await self._speaker.call(tool, arguments)
        self.samples.append(Sample(at - self._begun, tool, (time.monotonic() - at) * 1000, code))
        if code != "outcome.unknown" or "approval_id" not in body:
            return code, body
        self.unknown_at_first += 1
        named = {**arguments, "approval_id": body["approval_id"]}
        for _ in range(MAX_TRIES):
            if code != "outcome.unknown" or "approval_id" not in body:
                break
            await asyncio.sleep(body.get("retry_after_seconds", 1))
            code, body = await self._speaker.call(tool, named)
        # Without an id, a person must resolve it.
        self.settled += code != "outcome.unknown" or "approval_id" not in body
        return code, body

    async def _act(self, user: User) -> None:
        (kind,) = self._rng.choices(list(MIX), list(MIX.values()))
        about: dict[str, Any] = {} if kind == "status" else {"user_id": user.name}
        match kind:
            case "create_card":
                return await self._new_card(user)
            case "lock" | "unlock" | "get_card":
                if not user.cards:
                    return await self._new_card(user)
                about["card_id"] = self._rng.choice(user.cards)
                if kind != "get_card":
                    about["status"] = "locked" if kind == "lock" else "active"
                    kind = "update_card"
            case "create_deposit":
                about |= {"currency": "rusd", "network": "base", "amount": 25}
            case "quote_withdrawal":
                about |= _TO | {"amount_cents": 500}
            case "create_withdrawal" if not user.withdrew:
                # No second withdrawal is signed while the first signature is valid.
                user.withdrew = True
                return await self._withdraw(user)
            case "create_withdrawal":
                kind = "get_balances"
        await self._call(kind, about)
        return None

    async def _new_card(self, user: User) -> None:
        code, body = await self._call("create_card", {"user_id": user.name} | _LIMIT)
        if code == "ok":
            user.cards.append(body["card_id"])

    async def _withdraw(self, user: User) -> None:
        terms = _TO | {"amount_cents": 500 + self._rng.randrange(500), "user_id": user.name}
        code, body = await self._call("quote_withdrawal", terms)
        if code == "ok":
            await self._call("create_withdrawal", {"user_id": user.name, "quote_id": body["quote_id"]})
