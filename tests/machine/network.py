"""The network between client and upstream: responses lost, late, rejected or broken, and delayed commits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Literal

import httpx

from tests.machine.loop import Life, Schedule, seeded_random
from tests.machine.upstream import ApiError, VirtualRequest, VirtualUpstream

Fault = Literal[
    "refused", "lost", "never", "late", "broken", "before_5xx", "after_5xx", "busy", "busy_in", "slow", "forgotten"
]
# The repetitions are weights.
FAULTS: tuple[Fault, ...] = (
    "refused", "lost", "lost", "never", "never", "late", "late", "late", "broken", "before_5xx", "after_5xx",
    "busy", "busy_in", "slow", "forgotten",
)  # fmt: skip

BASE = "/partner/v1"
# The client's timeout, which the replaced transport would have applied.
READ_SECONDS = 8.0
LATEST_COMMIT = 12.0
"""Seconds after sending within which a mutation may still take effect."""


class NetworkFaults:
    """Chooses the fault of the next request."""

    def __init__(self) -> None:
        self.chance = seeded_random(0)
        self.rough = 0.0
        """The share of mutations with a fault. Other requests have a quarter of it."""
        self.next_mutations: list[Fault | None] = []
        """Faults of the next mutations, regardless of the share."""

    def fault(self, asked: VirtualRequest) -> Fault | None:
        if mutates(asked) and self.next_mutations:
            return self.next_mutations.pop(0)
        share = self.rough if mutates(asked) else self.rough / 4
        return self.chance.choice(FAULTS) if share and self.chance.random() < share else None


def mutates(asked: VirtualRequest) -> bool:
    """Whether the request can change relevant state."""
    path = asked.path.strip("/")
    return asked.method in ("PATCH", "DELETE") or (
        asked.method == "POST" and path in ("cards", "withdrawals", "deposits")
    )


class VirtualNetwork(httpx.AsyncBaseTransport):
    """The connection of one process lifetime to upstream. `sent` is called with each mutation as it leaves."""

    def __init__(
        self,
        upstream: VirtualUpstream,
        weather: NetworkFaults,
        life: Life,
        schedule: Schedule,
        sent: Callable[[VirtualRequest], None],
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
        # The effect has happened from here on, even if the process never learns of it.
        await self._schedule.at("sent", self._life)
        if fault == "lost":
            raise httpx.ReadError("cut")
        if fault == "slow":
            await asyncio.sleep(self._weather.chance.uniform(1.0, READ_SECONDS))
        if fault == "broken":
            return httpx.Response(200, content=b'{"ok": true, "data": {')
        return _envelope(503, "unavailable") if fault == "after_5xx" else response

    def _read(self, request: httpx.Request) -> VirtualRequest:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        return VirtualRequest(
            method=request.method,
            path=request.url.path.removeprefix(BASE),
            query=dict(request.url.params),
            user=self._upstream.tokens.get(token, ""),
            key=request.headers.get("idempotency-key"),
            body=json.loads(request.content) if request.content else {},
        )

    def _effect(self, asked: VirtualRequest) -> httpx.Response:
        if not asked.user and asked.path != "/sessions":
            return _envelope(401, "unauthorized")
        try:
            data = self._upstream.respond(asked)
        except ApiError as refused:
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
