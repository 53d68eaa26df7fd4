"""Every handler of the server object runs in one wrapper, which contains any failure behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.server.lowlevel import Server
from mcp.server.lowlevel.server import HandlerEntry

from machines_mcp.protocol.handlers import contained
from tests.support.fake_tools import MODERN, Harness
from tests.support.odd_server import CANARY
from tests.support.server_process import ERAS, ODD_SERVER, Era, serving

pytestmark = pytest.mark.anyio

OF_THE_SDK = {"ping"}
# These depend on nothing that could fail.
WITH_NOTHING_BEHIND = {"server/discover", "resources/unsubscribe"}
# A request for each of our handlers that reaches the handler.
REQUESTS: dict[str, dict[str, Any]] = {
    "tools/list": {},
    "tools/call": {"name": "status", "arguments": {}},
    "prompts/list": {},
    "prompts/get": {"name": "onboard_user"},
    "resources/list": {},
    "resources/templates/list": {},
    "resources/read": {"uri": "machines://journey"},
    "completion/complete": {
        "ref": {"type": "ref/prompt", "name": "onboard_user"},
        "argument": {"name": "user_id", "value": ""},
    },
}
IN_ONE_ERA: dict[Era, dict[str, dict[str, Any]]] = {
    "2025-11-25": {"resources/subscribe": {"uri": "machines://journey"}},
    "2026-07-28": {"subscriptions/listen": {"notifications": {"resourceSubscriptions": ["machines://journey"]}}},
}


def _handlers(server: Server[Any]) -> dict[str, Callable[..., Any]]:
    """Return all registered handlers of requests and notifications, by method."""
    tables = [table for table in vars(server).values() if isinstance(table, dict)]
    return {
        method: entry.handler for table in tables for method, entry in table.items() if isinstance(entry, HandlerEntry)
    }


def _is_contained(handler: Callable[..., Any]) -> bool:
    return handler.__code__ is contained(handler).__code__


async def test_every_handler_except_the_sdks_own_is_contained(harness: Harness) -> None:
    found = _handlers(harness.server)
    assert found.keys() > OF_THE_SDK
    assert [method for method in found.keys() - OF_THE_SDK if not _is_contained(found[method])] == []


async def test_every_contained_handler_has_a_failure_case(harness: Harness) -> None:
    tried = REQUESTS.keys() | {method for requests in IN_ONE_ERA.values() for method in requests}
    assert _handlers(harness.server).keys() - OF_THE_SDK == tried | WITH_NOTHING_BEHIND


async def test_a_bare_handler_is_detected(harness: Harness) -> None:
    async def bare(ctx: Any, params: Any) -> types.EmptyResult:
        return types.EmptyResult()

    harness.server.add_request_handler("x/bare", types.RequestParams, bare)
    assert not _is_contained(_handlers(harness.server)["x/bare"])


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.check
async def test_a_failure_behind_a_handler_yields_constant_text(tmp_path: Path, era: Era) -> None:
    async with serving(tmp_path, era, command=ODD_SERVER, ODD_BROKEN="1") as served:
        requests = REQUESTS | IN_ONE_ERA[era]
        for method, params in requests.items():
            assert (await served.ask(method, params))["error"] == {"code": -32603, "message": "Internal error"}
        assert CANARY not in served.said_since((0, 0))
        assert served.said_on_stderr().count("LookupError") == len(requests)


async def test_a_handlers_protocol_error_keeps_its_code_and_loses_its_text(harness: Harness) -> None:
    async def refuse(ctx: Any, params: Any) -> types.EmptyResult:
        raise MCPError(code=-32602, message=CANARY, data={"given": CANARY})

    harness.server.add_request_handler("x/refuse", types.RequestParams, contained(refuse))
    async with harness.client(MODERN) as client:
        with pytest.raises(MCPError) as refused:
            await client.session.send_request(
                types.Request[types.RequestParams, str](method="x/refuse", params=types.RequestParams()),
                types.EmptyResult,
            )
    assert refused.value.error.code == -32602
    assert CANARY not in refused.value.error.model_dump_json()


async def test_lists_are_private_and_stay_fresh_while_the_server_runs(harness: Harness) -> None:
    async with harness.client(MODERN) as client:
        listed = await client.list_tools()
        prompts = await client.list_prompts()
        resources = await client.list_resources()
    for result in (listed, prompts, resources):
        assert (result.cache_scope, result.ttl_ms) == ("private", 24 * 60 * 60 * 1000)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_server_declares_its_name_and_only_its_capabilities(harness: Harness, mode: str) -> None:
    async with Client(harness.server, mode=mode) as client:
        can = client.server_capabilities
    for part in (can.tools, can.prompts, can.resources):
        assert part is not None
        assert part.list_changed is False
    assert can.resources is not None
    assert can.resources.subscribe is True
    assert can.completions is not None
    assert can.logging is None


async def test_the_servers_icon_is_inline_and_small(harness: Harness) -> None:
    async with harness.client("legacy") as client:
        assert client.server_info is not None
        (icon,) = client.server_info.icons or []
    assert icon.src.startswith("data:image/svg+xml;base64,")
    # Every response of 2026-07-28 contains it.
    assert len(icon.src) < 250
