"""MCP Apps: a client that declares the extension gets views, and for any other no byte changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp.server import apps as of_the_sdk
from mcp.server.context import ServerRequestContext
from mcp_types import methods
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from pydantic_core import from_json

from machines_mcp.protocol.apps import EXTENSION, MIME_TYPE, takes_views
from machines_mcp.protocol.eras import serve_client
from machines_mcp.protocol.jsonrpc import OutgoingLines
from machines_mcp.protocol.pipe_dispatcher import PipeDispatcher
from machines_mcp.protocol.stdio import LineReader, LineWriter
from machines_mcp.server.app import opened
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.tools.views import CALLED, VIEWS
from tests.protocol.test_same_lines import Pipe
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

Message = dict[str, Any]
# `make check` runs the older ones.
VERSIONS = [
    *(pytest.param(version, marks=pytest.mark.check) for version in HANDSHAKE_PROTOCOL_VERSIONS[:-1]),
    HANDSHAKE_PROTOCOL_VERSIONS[-1],
    *MODERN_PROTOCOL_VERSIONS,
]
TAKES: Message = {EXTENSION: {"mimeTypes": [MIME_TYPE]}}
# What clients declare that take no views of ours.
OTHERS: dict[str, Message] = {
    "nothing": {},
    "other-extension": {"extensions": {"com.example/x": {"mimeTypes": [MIME_TYPE]}}},
    "no-types": {"extensions": {EXTENSION: {}}},
    "other-types": {"extensions": {EXTENSION: {"mimeTypes": ["text/html"]}}},
    "text-for-types": {"extensions": {EXTENSION: {"mimeTypes": MIME_TYPE}}},
    "experimental": {"experimental": TAKES},
}
REQUESTS: list[tuple[str, Message]] = [
    ("tools/list", {}),
    ("resources/list", {}),
    ("resources/templates/list", {}),
    ("prompts/list", {}),
    *(("resources/read", {"uri": view.uri}) for view in VIEWS),
    ("resources/read", {"uri": "ui://machines/nothing"}),
]


async def lines(folder: Path, version: str, *clients: Message, **settings: str) -> list[list[str]]:
    """Return the lines of one server to clients with these capabilities, one after the other."""
    chosen = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder), **settings}
    found = []
    async with opened(read_settings(chosen)) as app:
        for capabilities in clients:
            pipe = Pipe(messages(version, capabilities))
            writer = LineWriter(OutgoingLines(app.output_filter), pipe)
            reader = LineReader(pipe, writer, PATIENCE, lambda: None)
            await serve_client(app.server(), PipeDispatcher(reader, writer))
            found.append(pipe.lines)
    return found


def messages(version: str, *clients: Message) -> list[Message]:
    """Return the requests of a client; on 2026-07-28, of several in turn."""
    who = {"name": "Apps", "version": "1"}
    if version in HANDSHAKE_PROTOCOL_VERSIONS:
        (capabilities,) = clients
        hello = {"protocolVersion": version, "capabilities": capabilities, "clientInfo": who}
        sent: list[Message] = [
            {"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": hello},
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
        ]
        requests = [(method, params) for method, params in REQUESTS]
    else:
        sent = []
        requests = [
            (method, params | {"_meta": envelope(version, one, who)})
            for one in clients
            for method, params in [("server/discover", {}), *REQUESTS]
        ]
    return sent + [
        {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        for number, (method, params) in enumerate(requests)
    ]


def envelope(version: str, capabilities: Message, who: Message) -> Message:
    """Return the `_meta` of a 2026-07-28 request."""
    return {
        types.PROTOCOL_VERSION_META_KEY: version,
        types.CLIENT_CAPABILITIES_META_KEY: capabilities,
        types.CLIENT_INFO_META_KEY: who,
    }


def without_views(message: Message) -> Message:
    """Return a response without what the extension adds to it."""
    result = message.get("result", {})
    result.get("capabilities", {}).pop("extensions", None)
    for tool in result.get("tools", []):
        meta = tool.get("_meta", {})
        meta.pop("ui", None)
        if not meta:
            tool.pop("_meta", None)
    if "resources" in result:
        result["resources"] = [one for one in result["resources"] if not one["uri"].startswith("ui://")]
    return message


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_client_with_the_extension_gets_links_and_views_and_nothing_else_changes(
    tmp_path: Path, version: str
) -> None:
    plain, views, plain_again = await lines(tmp_path, version, {}, {"extensions": TAKES}, {})
    assert plain == plain_again
    count = 1 + len(REQUESTS) - len(VIEWS) - 1
    for before, after in zip(plain[:count], views[:count], strict=True):
        assert without_views(from_json(after)) == from_json(before)
    first, listed, resources, *_ = map(from_json, views)
    assert first["result"]["capabilities"]["extensions"] == {EXTENSION: {}}
    shown = {tool["name"]: tool["_meta"]["ui"] for tool in listed["result"]["tools"]}
    assert {ui["resourceUri"] for ui in shown.values() if "resourceUri" in ui} == {view.uri for view in VIEWS}
    # The client refuses a view's call of every other tool.
    assert {name for name, ui in shown.items() if ui.get("visibility") != ["model"]} == CALLED
    added = [one for one in resources["result"]["resources"] if one["uri"].startswith("ui://")]
    assert [(one["uri"], one["mimeType"]) for one in added] == [(view.uri, MIME_TYPE) for view in VIEWS]
    *_, approval, card, missing = map(from_json, views)
    for view, read in zip(VIEWS, (approval, card), strict=True):
        (page,) = read["result"]["contents"]
        assert (page["uri"], page["mimeType"], page["text"]) == (view.uri, MIME_TYPE, view.html())
        assert set(map(tuple, page["_meta"]["ui"]["csp"].values())) == {()}
        assert page["_meta"]["ui"]["prefersBorder"] is True
    assert missing["error"]["code"] == types.INVALID_PARAMS


@pytest.mark.parametrize("version", VERSIONS)
async def test_any_other_client_sees_no_trace_of_the_views(tmp_path: Path, version: str) -> None:
    plain, *others = await lines(tmp_path, version, *OTHERS.values())
    for name, seen in zip(list(OTHERS)[1:], others, strict=True):
        assert seen == plain, name
    assert not any(word in line for line in plain for word in (EXTENSION, MIME_TYPE, "ui://", "extensions"))
    # A view's address is refused as any unknown one.
    refused = [from_json(line).get("error") for line in plain[-1 - len(VIEWS) :]]
    assert refused[0] is not None and all(error == refused[0] for error in refused)


async def test_each_2026_request_decides_for_itself_and_each_list_is_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (version,) = MODERN_PROTOCOL_VERSIONS
    shaped: list[str] = []
    original = methods.serialize_server_result

    def counting(method: str, *rest: Any) -> dict[str, Any]:
        shaped.append(method)
        return original(method, *rest)

    monkeypatch.setattr(methods, "serialize_server_result", counting)
    capabilities: list[Message] = [{"extensions": TAKES}, {}, {"extensions": TAKES}, {}]
    settings = read_settings({"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path)})
    async with opened(settings) as app:
        pipe = Pipe(messages(version, *capabilities))
        writer = LineWriter(OutgoingLines(app.output_filter), pipe)
        await serve_client(app.server(), PipeDispatcher(LineReader(pipe, writer, PATIENCE, lambda: None), writer))
    each = len(REQUESTS) + 1
    seen = [[from_json(line) for line in pipe.lines[at : at + each]] for at in range(0, 4 * each, each)]
    results = [[message.get("result", message.get("error")) for message in part] for part in seen]
    assert results[0] == results[2] != results[1] == results[3]
    assert "ui://" not in json.dumps(results[1])
    assert [shaped.count(method) for method in ("tools/list", "resources/list")] == [2, 2]


@pytest.mark.parametrize("capabilities", [{"extensions": TAKES}, *OTHERS.values()], ids=["takes", *OTHERS])
def test_the_sdk_would_decide_the_same(capabilities: Message) -> None:
    declared = types.ClientCapabilities.model_validate(capabilities, by_name=False)

    class Session:
        client_capabilities = declared

    context: ServerRequestContext[Any, Any] = ServerRequestContext(
        session=Session(),  # type: ignore[arg-type]
        lifespan_context=None,
        protocol_version="2026-07-28",
        method="tools/list",
    )
    assert takes_views(declared) == of_the_sdk.client_supports_apps(context) == (capabilities == {"extensions": TAKES})


def test_the_names_are_the_sdks_and_no_capabilities_are_none() -> None:
    assert (of_the_sdk.EXTENSION_ID, of_the_sdk.APP_MIME_TYPE) == (EXTENSION, MIME_TYPE)
    assert not takes_views(None)
