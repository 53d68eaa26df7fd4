"""What lies between the client and Machines: answers that are lost, late, refused, broken; commits that come later."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Literal

import httpx

from tests.machine.loop import Life, Schedule, chance
from tests.machine.upstream import Asked, Refused, Upstream

Fault = Literal[
    "refused", "lost", "never", "late", "broken", "before_5xx", "after_5xx", "busy", "busy_in", "slow", "forgotten"
]
# As often as it stands here.
FAULTS: tuple[Fault, ...] = (
    "refused", "lost", "lost", "never", "never", "late", "late", "late", "broken", "before_5xx", "after_5xx",
    "busy", "busy_in", "slow", "forgotten",
)  # fmt: skip

BASE = "/partner/v1"
# As the client waits for an answer: the transport that is replaced here would have timed this.
READ_SECONDS = 8.0
LATEST_COMMIT = 12.0
"""How long after it was sent a mutation may still take effect."""


class Weather:
    """Which fault the next request meets."""

    def __init__(self) -> None:
        self.chance = chance(0)
        self.rough = 0.0
        """Which share of the mutations meets one; of the rest a quarter as many do."""
        self.next_mutations: list[Fault | None] = []
        """What the next mutations meet, whatever the share is."""

    def fault(self, asked: Asked) -> Fault | None:
        if mutates(asked) and self.next_mutations:
            return self.next_mutations.pop(0)
        share = self.rough if mutates(asked) else self.rough / 4
        return self.chance.choice(FAULTS) if share and self.chance.random() < share else None


def mutates(asked: Asked) -> bool:
    """Whether it can change something that counts."""
    path = asked.path.strip("/")
    return asked.method in ("PATCH", "DELETE") or (
        asked.method == "POST" and path in ("cards", "withdrawals", "deposits")
    )


class Network(httpx.AsyncBaseTransport):
    """The way of one life of a process to upstream. `sent` is told each mutation as it leaves."""

    def __init__(
        self,
        upstream: Upstream,
        weather: Weather,
        life: Life,
        schedule: Schedule,
        sent: Callable[[Asked], None],
    ) -> None:
        self._upstream = upstream
        self._weather = weather
        self._life = life
        self._schedule = schedule
        self._sent = sent

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asked = self._read(request)
        await self._schedule.at(f"request {asked.method} {asked.path}", self._life)
        fault = self._weather.fault(asked)
        if fault == "refused":
            raise httpx.ConnectError("refused")
        if mutates(asked):
            self._sent(asked)
        await request.extensions["trace"]("http11.send_request_body.complete", {})
        if fault in ("never", "late"):
            if fault == "late" and mutates(asked):
                asyncio.get_running_loop().call_later(
                    self._weather.chance.uniform(0.0, LATEST_COMMIT), self._effect, asked
                )
            await self._schedule.at("sent", self._life)
            await asyncio.sleep(READ_SECONDS)
            raise httpx.ReadTimeout("nothing came")
        if fault in ("before_5xx", "busy", "busy_in", "forgotten"):
            return _refusal(fault)
        response = self._effect(asked)
        # From here on it has happened, and this process may never hear of it.
        await self._schedule.at("sent", self._life)
        if fault == "lost":
            raise httpx.ReadError("cut")
        if fault == "slow":
            await asyncio.sleep(self._weather.chance.uniform(1.0, READ_SECONDS))
        if fault == "broken":
            return httpx.Response(200, content=b'{"ok": true, "data": {')
        return _envelope(503, "unavailable") if fault == "after_5xx" else response

    def _read(self, request: httpx.Request) -> Asked:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return Asked(
            method=request.method,
            path=request.url.path.removeprefix(BASE),
            query=dict(request.url.params),
            user=self._upstream.tokens.get(token, ""),
            key=request.headers.get("idempotency-key"),
            body=json.loads(request.content) if request.content else {},
        )

    def _effect(self, asked: Asked) -> httpx.Response:
        if not asked.user and asked.path != "/sessions":
            return _envelope(401, "unauthorized")
        try:
            data = self._upstream.answer(asked)
        except Refused as refused:
            return _envelope(refused.status, refused.code)
        return httpx.Response(200, json={"ok": True, "data": data, "summary": "fine", "errors": []})


def _refusal(fault: Fault) -> httpx.Response:
    if fault == "busy":
        return _envelope(429, "rate_limited")
    if fault == "busy_in":
        return _envelope(429, "rate_limited", {"Retry-After": "2"})
    return _envelope(401, "unauthorized") if fault == "forgotten" else _envelope(503, "unavailable")


def _envelope(status: int, code: str, headers: dict[str, Any] | None = None) -> httpx.Response:
    body = {"ok": False, "summary": "no", "errors": [{"code": code, "message": "no"}]}
    return httpx.Response(status, json=body, headers=headers)
