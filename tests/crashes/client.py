"""A client that completes one operation across server crashes, following the server's instructions.

A call with an approval is repeated by its id, with the same arguments. A `naive` client starts over instead, like a
client that ignores ids. The figures compare both.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from tests.crashes.operations import DESTINATION, CrashOperation
from tests.crashes.server_process import ServerGone, ServerProcess

UNKNOWN = "outcome.unknown"
# The call had no effect and may be repeated unchanged.
_AGAIN = frozenset({"partner.unavailable", "rate.limited", "state.unavailable"})
_ANEW = frozenset({"approval.expired"})
_MANUAL = "doctor --resolve"
_REFERENCES = ("card_id", "deposit_id", "withdrawal_id")

Grant = Callable[[str], Awaitable[bool]]
See = Callable[[str], Awaitable[bool]]


class Client:
    """`grant` approves at a terminal by approval id. `see` opens a card's page. Both return whether that was done."""

    def __init__(self, grant: Grant, see: See, *, naive: bool = False) -> None:
        self._grant = grant
        self._see = see
        self._naive = naive
        self.codes: Counter[str] = Counter()
        self.strange: list[str] = []

    async def pursue(self, server: ServerProcess, operation: CrashOperation) -> None:
        """Call until the operation is resolved, or its outcome is unknown and it stays open.

        Raises:
            Gone: The server was killed meanwhile.
        """
        for _ in range(12):
            try:
                if not await self._step(server, operation):
                    return
            except ServerGone:
                operation.cut += operation.granted or operation.plain
                if self._naive:
                    self._forget(operation)
                raise
        self.strange.append(f"{operation.tool} was never resolved: {operation.code}")

    async def _step(self, server: ServerProcess, operation: CrashOperation) -> bool:
        """Make one call. Return whether another is needed."""
        if (
            operation.kind == "withdrawal"
            and "quote_id" not in operation.arguments
            and not await self._quote(server, operation)
        ):
            return False
        operation.calls += 1
        result = await server.call(
            *(operation.tool, operation.arguments | _id(operation)), dialog=operation.by_dialog, **_answers(operation)
        )
        if result.get("resultType") == "input_required":
            operation.key = {"requestState": result["requestState"], "inputResponses": _yes(result)}
            operation.granted = True
            return True
        body = json.loads(result["content"][0]["text"])
        code = str(body.get("code", "ok")) if result.get("isError") else "ok"
        self.codes[f"{operation.tool} {code}"] += 1
        return await self._judge(operation, code, body)

    async def _judge(self, operation: CrashOperation, code: str, body: dict[str, Any]) -> bool:
        operation.code = code
        if code == "ok":
            found = next((str(body[name]) for name in _REFERENCES if name in body), "")
            # An unsigned withdrawal has not moved money yet, but still may.
            operation.settle("done", str(body.get("status", "ok")), found)
            return False
        if code == "approval.required":
            return await self._ask(operation, body)
        if code == UNKNOWN:
            operation.unknown += 1
            if _MANUAL in json.dumps(body):
                operation.settle("manual", code)
            elif self._naive:
                self._forget(operation)
                return True
            return False
        if code in _AGAIN:
            return False
        if code in _ANEW and not operation.granted:
            self._forget(operation)
            return True
        operation.settle("not done", code)
        return False

    async def _ask(self, operation: CrashOperation, body: dict[str, Any]) -> bool:
        operation.key = {"approval_id": body["approval_id"]}
        if "page" in body:
            operation.granted = True
            return await self._see(body["page"])
        operation.granted = await self._grant(body["approval_id"])
        return operation.granted

    async def _quote(self, server: ServerProcess, operation: CrashOperation) -> bool:
        terms = {"user_id": operation.user, "amount_cents": operation.mark} | DESTINATION
        result = await server.call("quote_withdrawal", terms)
        body = json.loads(result["content"][0]["text"])
        if "quote_id" not in body:
            if body["code"] not in _AGAIN:
                operation.settle("not done", body["code"])
            return False
        operation.arguments["quote_id"] = body["quote_id"]
        return True

    def _forget(self, operation: CrashOperation) -> None:
        operation.key, operation.granted = None, False
        operation.arguments.pop("quote_id", None)


def _id(operation: CrashOperation) -> dict[str, Any]:
    return operation.key if operation.key is not None and "approval_id" in operation.key else {}


def _answers(operation: CrashOperation) -> dict[str, Any]:
    return operation.key if operation.key is not None and "requestState" in operation.key else {}


def _yes(result: dict[str, Any]) -> dict[str, Any]:
    return {name: {"action": "accept", "content": {"decision": "approve"}} for name in result["inputRequests"]}
