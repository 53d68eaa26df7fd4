"""Our lines are those of the SDK's own loop over streams, for every method and protocol version."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, cast

import anyio
import mcp_types as types
import pytest
from mcp.server.stdio import stdio_server
from mcp_types.methods import SPEC_CLIENT_METHODS
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from pydantic_core import from_json

from machines_mcp.protocol.eras import serve_client
from machines_mcp.protocol.jsonrpc import OutgoingLines, is_id
from machines_mcp.protocol.pipe_dispatcher import PipeDispatcher
from machines_mcp.protocol.stdio import LineReader, LineWriter
from machines_mcp.server.app import App, opened
from machines_mcp.server.settings_reader import read_settings
from tests.support.in_process import in_process_sandbox
from tests.support.memory_pipe import MemoryPipe
from tests.support.stdio_client import applicant
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

Message = dict[str, Any]
Serve = Callable[[App, Sequence[Message]], Coroutine[Any, Any, list[str]]]

ANN = {"user_id": "ann"}
# Texts that differ from run to run: times, and ids that the simulator or we make up.
_UNIQUE = re.compile(
    r"\d{4}-\d\d-\d\dT[0-9:.]+Z|[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}|127\.0\.0\.1:[0-9]+/[a-p]{32}/"
    r'|(?<="requestState":")[^"]+'
)
_DIALOG: Message = {"elicitation": {"form": {}, "url": {}}}


def tool_call(name: str, **arguments: Any) -> tuple[str, Message]:
    """Return a tool call as a request."""
    return "tools/call", {"name": name, "arguments": arguments}


REQUESTS: list[tuple[str, Message | None]] = [
    ("ping", None),
    tool_call("status"),
    tool_call("create_session", purpose="kyc", **ANN),
    tool_call("resolve_user", **ANN),
    tool_call("get_kyc_status", **ANN),
    tool_call("submit_kyc", **applicant(), **ANN),
    tool_call("list_cards", **ANN),
    tool_call("get_balances"),
    tool_call("no_such_tool"),
    tool_call("reveal_card", card_id="c", **ANN),
    ("tools/call", {"name": 7}),
    ("tools/call", {}),
    ("tools/call", {"name": "status", "arguments": []}),
    ("tools/call", {"name": "status", "_meta": {"progressToken": "a", "x": 1}}),
    ("tools/call", {"name": "status", "requestState": "forged"}),
    ("tools/list", None),
    ("tools/list", {"cursor": "x"}),
    ("tools/list", {"cursor": 7}),
    ("prompts/list", None),
    ("prompts/get", {"name": "withdraw"}),
    ("prompts/get", {"name": "nothing"}),
    ("resources/list", {}),
    ("resources/templates/list", {}),
    ("resources/read", {"uri": "machines://journey"}),
    ("resources/read", {"uri": "machines://nothing"}),
    ("resources/subscribe", {"uri": "machines://journey"}),
    ("resources/unsubscribe", {"uri": "machines://journey"}),
    (
        "completion/complete",
        {"ref": {"type": "ref/prompt", "name": "withdraw"}, "argument": {"name": "user_id", "value": ""}},
    ),
    ("server/discover", None),
    ("logging/setLevel", {"level": "debug"}),
    ("tasks/list", None),
    ("no/such", {"a": 1}),
]
# It is answered when its stream ends.
_ENDLESS = {"subscriptions/listen"}


def messages_of(version: str, requests: Sequence[tuple[str, Message | None]]) -> list[Message]:
    """Return the requests as a client of this version sends them, after its handshake if it has one."""
    who = {"name": "Same Lines", "version": "1.0"}
    found: list[Message] = []
    if version in HANDSHAKE_PROTOCOL_VERSIONS:
        hello = {"protocolVersion": version, "capabilities": _DIALOG, "clientInfo": who}
        found += [_request("hello", "initialize", hello), {"jsonrpc": "2.0", "method": "notifications/initialized"}]
    for number, (method, params) in enumerate(requests):
        if version in MODERN_PROTOCOL_VERSIONS:
            envelope = {
                types.PROTOCOL_VERSION_META_KEY: version,
                types.CLIENT_CAPABILITIES_META_KEY: _DIALOG,
                types.CLIENT_INFO_META_KEY: who,
            }
            params = {**(params or {}), "_meta": {**(params or {}).get("_meta", {}), **envelope}}
        found.append(_request(number, method, params))
    return found


def _request(number: int | str, method: str, params: Message | None) -> Message:
    return {"jsonrpc": "2.0", "id": number, "method": method} | ({} if params is None else {"params": params})


class Pipe(MemoryPipe):
    """The two ends of a client that sends a message after the response to the one before."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = list(messages)
        self._answered = anyio.Event()
        self._answered.set()
        self.lines: list[str] = []

    async def read(self) -> bytes:
        with anyio.fail_after(PATIENCE):
            await self._answered.wait()
        if not self._messages:
            return b""
        message = self._messages.pop(0)
        if "id" in message:
            self._answered = anyio.Event()
        return json.dumps(message).encode() + b"\n"

    def write(self, data: bytes) -> None:
        for line in data.decode().splitlines():
            message = json.loads(line)
            if "method" in message and "id" in message:
                # A dialog: the person closes it.
                self._messages.insert(0, {"jsonrpc": "2.0", "id": message["id"], "result": {"action": "cancel"}})
            self.lines.append(line)
            self._answered.set()

    # The ends that the SDK's loop takes.

    async def __aiter__(self) -> AsyncIterator[str]:
        while line := await self.read():
            yield line.decode()


class TextEnd:
    """The output of the SDK's loop, with its lines filtered as ours are."""

    def __init__(self, pipe: Pipe, wire: OutgoingLines) -> None:
        self._pipe = pipe
        self._wire = wire

    async def write(self, line: str) -> None:
        self._pipe.write(self._wire.outgoing(line).encode())

    async def flush(self) -> None:
        pass


async def _by_the_sdk(app: App, messages: Sequence[Message]) -> list[str]:
    pipe, server = Pipe(messages), app.server()
    out = TextEnd(pipe, OutgoingLines(app.output_filter))
    async with stdio_server(stdin=cast(Any, pipe), stdout=cast(Any, out)) as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())
    return [_TRACE.sub("", line) for line in pipe.lines]


# The SDK adds a trace's id to its questions, which nobody traces.
_TRACE = re.compile(r',"_meta":\{"traceparent":"[^"]+"\}')


async def by_us(app: App, messages: Sequence[Message]) -> list[str]:
    """Serve the messages."""
    pipe = Pipe(messages)
    writer = LineWriter(OutgoingLines(app.output_filter), pipe)
    reader = LineReader(pipe, writer, PATIENCE, lambda: None)
    await serve_client(app.server(), PipeDispatcher(reader, writer))
    return pipe.lines


async def lines_of(folder: Path, serve: Serve, messages: Sequence[Message]) -> list[str]:
    """Return the lines of a new server to these messages, without what differs from run to run."""
    settings = read_settings({"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder)})
    async with in_process_sandbox() as sandbox, opened(settings, embedded=sandbox) as app:
        return [_UNIQUE.sub("unique", line) for line in await serve(app, messages)]


def _parsed(lines: Sequence[str]) -> list[Any]:
    return [from_json(line) for line in lines]


@pytest.mark.parametrize("version", [*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS])
async def test_every_response_is_the_sdks_own(tmp_path: Path, version: str) -> None:
    asked = {method for method, _ in REQUESTS}
    assert asked >= SPEC_CLIENT_METHODS - _ENDLESS - {"initialize"}
    messages = messages_of(version, REQUESTS)
    ours, theirs = (
        await lines_of(tmp_path / "ours", by_us, messages),
        await lines_of(tmp_path / "sdk", _by_the_sdk, messages),
    )
    assert {json.loads(line).get("id") for line in ours} >= {
        message["id"] for message in messages if is_id(message.get("id"))
    }
    assert _parsed(ours) == _parsed(theirs)
    assert ours == theirs
