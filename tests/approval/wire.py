"""A client in raw lines for a server process, in both eras. It can send messages that a correct client never sends."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from subprocess import DEVNULL
from typing import Any, Literal

import anyio
from anyio.abc import Process

from tests.support.waiting import PATIENCE

Era = Literal["2025-11-25", "2026-07-28"]
ERAS: tuple[Era, ...] = ("2025-11-25", "2026-07-28")

ACCEPT = {"action": "accept", "content": {"decision": "approve"}}
REFUSE = {"action": "accept", "content": {"decision": "refuse"}}
DECLINE = {"action": "decline"}
CANCEL = {"action": "cancel"}

_CLIENT = {"name": "matrix", "version": "1.0"}


@dataclass(frozen=True)
class ErrorResponse:
    """A JSON-RPC error in place of a response to the question (2025-11-25)."""

    code: int = -1
    message: str = "nobody is there"


@dataclass
class StdioServer:
    """A server process and its messages. `dialog`: whether this client declares elicitation."""

    process: Process
    era: Era
    dialog: bool
    asked: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    """The questions that the server sent as requests (2025-11-25), in order."""
    cancelled: list[Any] = field(default_factory=list)
    """The ids of those that the server cancelled."""
    _waiting: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    _next: int = 0

    async def send(self, message: Mapping[str, Any]) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send(json.dumps({"jsonrpc": "2.0"} | dict(message)).encode() + b"\n")

    async def request(self, method: str, params: Mapping[str, Any]) -> asyncio.Future[dict[str, Any]]:
        """Send a request and return a future of the whole response."""
        self._next += 1
        number, given = self._next, dict(params)
        if self.era == "2026-07-28":
            given["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": self.era,
                "io.modelcontextprotocol/clientInfo": _CLIENT,
                "io.modelcontextprotocol/clientCapabilities": self._capabilities(),
            }
        found = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self.send({"id": number, "method": method, "params": given})
        return found

    def number_of(self, call: asyncio.Future[dict[str, Any]]) -> int:
        """Return the id of an unanswered request."""
        return next(number for number, waiting in self._waiting.items() if waiting is call)

    async def begin(self, tool: str, arguments: Mapping[str, Any], **more: Any) -> asyncio.Future[dict[str, Any]]:
        """Start a tool call. `more` goes next to the arguments (`requestState`, `inputResponses`)."""
        return await self.request("tools/call", {"name": tool, "arguments": dict(arguments)} | more)

    async def call(self, tool: str, arguments: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        """Call a tool and return the whole response."""
        answer = await self.begin(tool, arguments, **more)
        with anyio.fail_after(PATIENCE):
            return await answer

    async def question(self, tool: str, arguments: Mapping[str, Any]) -> Question:
        """Call a tool and return the question that it must put to the person."""
        (asked,) = await self.questions(tool, arguments, 1)
        return asked

    async def questions(self, tool: str, arguments: Mapping[str, Any], count: int) -> list[Question]:
        """Start `count` equal calls at once and return their questions."""
        calls = [await self.begin(tool, arguments) for _ in range(count)]
        with anyio.fail_after(PATIENCE):
            if self.era == "2025-11-25":
                asked = [await self._next_question(calls) for _ in calls]
                return [
                    Question(self, tool, arguments, call, message["params"]["message"], number=message["id"])
                    for call, message in zip(calls, asked, strict=True)
                ]
            results = [(await call)["result"] for call in calls]
        return [
            Question(
                self,
                tool,
                arguments,
                call,
                result["inputRequests"]["approve"]["params"]["message"],
                state=result["requestState"],
            )
            for call, result in zip(calls, results, strict=True)
        ]

    async def _next_question(self, calls: list[asyncio.Future[dict[str, Any]]]) -> dict[str, Any]:
        asking = asyncio.ensure_future(self.asked.get())
        await asyncio.wait([asking, *calls], return_when=asyncio.FIRST_COMPLETED)
        if not asking.done():
            asking.cancel()
            raise AssertionError([code(call.result()) for call in calls if call.done()])
        return asking.result()

    async def greet(self) -> None:
        """Send the handshake of 2025-11-25."""
        if self.era == "2025-11-25":
            hello = {"protocolVersion": self.era, "capabilities": self._capabilities(), "clientInfo": _CLIENT}
            await (await self.request("initialize", hello))
            await self.send({"method": "notifications/initialized"})

    async def pump(self) -> None:
        """Read the server's messages until the stream ends."""
        assert self.process.stdout is not None
        rest = b""
        try:
            async for piece in self.process.stdout:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    self._take(json.loads(line))
        finally:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionError("the server has ended"))
                    # Retrieve the exception now, so that an abandoned call does not disturb a later test.
                    waiting.exception()

    def _take(self, message: dict[str, Any]) -> None:
        if "method" not in message:
            waiting = self._waiting.pop(message["id"], None)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)
        elif message["method"] == "elicitation/create":
            self.asked.put_nowait(message)
        elif message["method"] == "notifications/cancelled":
            self.cancelled.append(message["params"]["requestId"])

    def _capabilities(self) -> dict[str, Any]:
        return {"elicitation": {"form": {}}} if self.dialog else {}


@dataclass
class Question:
    """A question to the person, and the call that waits for the response."""

    server: StdioServer
    tool: str
    arguments: Mapping[str, Any]
    call: asyncio.Future[dict[str, Any]]
    text: str
    number: Any = None
    state: str = ""

    async def begin(self, answer: Any) -> asyncio.Future[dict[str, Any]]:
        """Respond in the era's form and return a future of the call's result."""
        if self.server.era == "2026-07-28":
            responses = {"approve": answer}
            return await self.server.begin(self.tool, self.arguments, requestState=self.state, inputResponses=responses)
        if isinstance(answer, ErrorResponse):
            said: dict[str, Any] = {"error": {"code": answer.code, "message": answer.message}}
        else:
            said = {"result": answer}
        await self.server.send({"id": self.number} | said)
        return self.call

    async def answer(self, answer: Any) -> dict[str, Any]:
        """Respond and wait for the call's result."""
        call = await self.begin(answer)
        with anyio.fail_after(PATIENCE):
            return await call


@asynccontextmanager
async def connected(
    env: Mapping[str, str], era: Era, *, dialog: bool, program: Sequence[str] = ("-m", "machines_mcp")
) -> AsyncIterator[StdioServer]:
    """Start a server process with these settings and end it with the block."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MACHINES_")}
    command = [sys.executable, *program, "serve"]
    process = await anyio.open_process(command, env=plain | dict(env), stderr=DEVNULL)
    server = StdioServer(process, era, dialog)
    pump = asyncio.get_running_loop().create_task(server.pump())
    try:
        with anyio.fail_after(PATIENCE):
            await server.greet()
        yield server
    finally:
        pump.cancel()
        await asyncio.wait([pump])
        if process.returncode is None:
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()


def body(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object in a tool's result, or the protocol error."""
    if "error" in answer:
        return {"code": f"jsonrpc {answer['error']['code']}"}
    result = answer["result"]
    if result.get("resultType") == "input_required" or "inputRequests" in result:
        return {"code": "asked"}
    found: dict[str, Any] = json.loads(result["content"][0]["text"])
    return found


def code(answer: Mapping[str, Any]) -> str:
    """Return the error's code, `ok`, or `asked` for a question."""
    return str(body(answer).get("code", "ok"))
