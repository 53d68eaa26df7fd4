"""Apply a fault: delay, change, truncate or drop the response to a call."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import anyio
from starlette.responses import HTMLResponse, Response

from machines_mcp.sandbox.envelope import Refusal
from machines_mcp.sandbox.json_patch import patched

if TYPE_CHECKING:
    from asyncio import Transport

    from starlette.types import Receive, Scope, Send

    from machines_mcp.sandbox.faults import Fault

# The key of the connection's transport in the `state` of a request's scope.
TRANSPORT: Final = "sandbox_transport"
_PAGE: Final = "<!doctype html><title>Welcome</title><h1>Welcome</h1><p>This is not the response you asked for.</p>\n"


async def broken(fault: Fault, answer: Callable[[], Awaitable[Response]]) -> Response:
    """Return the faulty response. `answer` is called only if the fault lets the call take effect.

    Raises:
        Refusal: if the fault is of kind `status`.
    """
    if fault.delay_seconds:
        await anyio.sleep(fault.delay_seconds)
    match fault.kind:
        case "status":
            raise _refusal(fault)
        case "drop":
            return CutResponse(b"")
        case "html":
            return HTMLResponse(_PAGE)
        case "after":
            await answer()
            return CutResponse(b"")
        case "half_body":
            return CutResponse((await answer()).body)
        case "wrong_types":
            envelope = json.loads(bytes((await answer()).body))
            envelope["data"] = _retyped(envelope.get("data"))
            return Response(json.dumps(envelope), media_type="application/json")
        case "patch":
            return Response(patched(bytes((await answer()).body), fault.patch), media_type="application/json")
        case _:
            return await answer()


def _refusal(fault: Fault) -> Refusal:
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    return Refusal(fault.status or 500, fault.code or "server_error", "a fault was armed", headers=headers)


def _retyped(value: Any) -> Any:
    """Return the value with the same names but other types, at every depth."""
    if isinstance(value, dict):
        return {name: _retyped(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return {"0": [_retyped(inner) for inner in value]}
    if isinstance(value, str):
        return len(value)
    return [value]


class CutResponse(Response):
    """Announces the whole body, sends half of it and closes the connection; sends nothing if there is no body."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport: Transport = scope["state"][TRANSPORT]
        if self.body:
            head = [(b"content-type", b"application/json"), (b"content-length", str(len(self.body)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            half = bytes(self.body[: len(self.body) // 2])
            await send({"type": "http.response.body", "body": half, "more_body": True})
        transport.close()
        # Wait until the server notices, or it would add its own error response.
        while (await receive())["type"] != "http.disconnect":
            pass
