"""A client that takes one wish to its end across the deaths of servers, as the instructions of the server say.

A call that was asked about is repeated by its id, with the same arguments. `naive`: it is called anew, as a client does
that knows no ids; that is what the figures are compared with.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from tests.crashes.life import Gone, Life
from tests.crashes.wishes import DESTINATION, Wish

UNKNOWN = "outcome.unknown"
# Said of a call that did nothing and may be made again as it is.
_AGAIN = frozenset({"partner.unavailable", "rate.limited", "state.unavailable"})
_ANEW = frozenset({"approval.expired"})
_MANUAL = "doctor --resolve"
_REFERENCES = ("card_id", "deposit_id", "withdrawal_id")

Grant = Callable[[str], Awaitable[bool]]
See = Callable[[str], Awaitable[None]]


class Client:
    """`grant` is the person at a terminal, by the id of an approval; `see` is the person at a card's page."""

    def __init__(self, grant: Grant, see: See, *, naive: bool = False) -> None:
        self._grant = grant
        self._see = see
        self._naive = naive
        self.codes: Counter[str] = Counter()
        self.strange: list[str] = []

    async def pursue(self, life: Life, wish: Wish) -> None:
        """Call until the wish has its end, or it is not known whether it happened, which stays open for another time.

        Raises:
            Gone: The server died over it.
        """
        for _ in range(12):
            try:
                if not await self._step(life, wish):
                    return
            except Gone:
                wish.cut += wish.granted or wish.plain
                if self._naive:
                    self._forget(wish)
                raise
        self.strange.append(f"{wish.tool} came to no end: {wish.code}")

    async def _step(self, life: Life, wish: Wish) -> bool:
        """One call; whether there is another to make."""
        if wish.kind == "withdrawal" and "quote_id" not in wish.arguments and not await self._quote(life, wish):
            return False
        wish.calls += 1
        result = await life.call(*(wish.tool, wish.arguments | _id(wish)), dialog=wish.by_dialog, **_answers(wish))
        if result.get("resultType") == "input_required":
            wish.key = {"requestState": result["requestState"], "inputResponses": _yes(result)}
            wish.granted = True
            return True
        body = json.loads(result["content"][0]["text"])
        code = str(body.get("code", "ok")) if result.get("isError") else "ok"
        self.codes[f"{wish.tool} {code}"] += 1
        return await self._judge(wish, code, body)

    async def _judge(self, wish: Wish, code: str, body: dict[str, Any]) -> bool:
        wish.code = code
        if code == "ok":
            found = next((str(body[name]) for name in _REFERENCES if name in body), "")
            # A withdrawal that is not signed yet has moved nothing, and may still.
            wish.settle("done", str(body.get("status", "ok")), found)
            return False
        if code == "approval.required":
            return await self._ask(wish, body)
        if code == UNKNOWN:
            wish.unknown += 1
            if _MANUAL in json.dumps(body):
                wish.settle("manual", code)
            elif self._naive:
                self._forget(wish)
                return True
            return False
        if code in _AGAIN:
            return False
        if code in _ANEW and not wish.granted:
            self._forget(wish)
            return True
        wish.settle("not done", code)
        return False

    async def _ask(self, wish: Wish, body: dict[str, Any]) -> bool:
        wish.key = {"approval_id": body["approval_id"]}
        if "page" in body:
            wish.granted = True
            await self._see(body["page"])
            return True
        wish.granted = await self._grant(body["approval_id"])
        return wish.granted

    async def _quote(self, life: Life, wish: Wish) -> bool:
        terms = {"user_id": wish.user, "amount_cents": wish.mark} | DESTINATION
        result = await life.call("quote_withdrawal", terms)
        body = json.loads(result["content"][0]["text"])
        if "quote_id" not in body:
            if body["code"] not in _AGAIN:
                wish.settle("not done", body["code"])
            return False
        wish.arguments["quote_id"] = body["quote_id"]
        return True

    def _forget(self, wish: Wish) -> None:
        wish.key, wish.granted = None, False
        wish.arguments.pop("quote_id", None)


def _id(wish: Wish) -> dict[str, Any]:
    return wish.key if wish.key is not None and "approval_id" in wish.key else {}


def _answers(wish: Wish) -> dict[str, Any]:
    return wish.key if wish.key is not None and "requestState" in wish.key else {}


def _yes(result: dict[str, Any]) -> dict[str, Any]:
    return {name: {"action": "accept", "content": {}} for name in result["inputRequests"]}
