"""Calls that name no valid user, such as those that can't be read, are shown only by servers of their own users."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from machines_mcp.storage.audit_log import AuditRow
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER, Principal
from machines_mcp.tools.catalog import TOOLS
from tests.support.clock import Clock
from tests.support.fake_tools import ERAS, Era, Harness, build_harness

pytestmark = pytest.mark.anyio

PRINCIPALS = {
    "pinned": ("ann", None),
    "one of two": ("ann", frozenset({"ann", "bob"})),
    "listed": (None, frozenset({"ann"})),
    "two listed": (None, frozenset({"ann", "cat"})),
    "any": (None, None),
}
OTHERS = [
    Principal.of("bob", None),
    Principal.of("bob", frozenset({"ann", "bob"})),
    Principal.of(None, frozenset({"bob"})),
    Principal.of(None, frozenset({"bob", "dan"})),
]


def _calls(pinned: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "no_such_tool", {}
    for tool in TOOLS:
        yield tool.name, {"no_such_argument": 1}
        yield tool.name, {"user_id": "${USER}"}
        yield tool.name, {"user_id": "null" if pinned else "no-user-of-this-server"}
    yield "status", {}


async def _rows(harness: Harness, principal: Principal) -> list[AuditRow]:
    await harness.guard.audit.flush()
    return [row for row in await harness.guard.audit.rows(principal, limit=1000) if row.kind != "setting"]


@pytest.mark.parametrize("whose", PRINCIPALS)
@pytest.mark.parametrize("era", ERAS)
async def test_only_its_own_servers_show_a_call_that_names_no_user(
    store: Store, clock: Clock, era: Era, whose: str
) -> None:
    pinned, users = PRINCIPALS[whose]
    harness = build_harness(store, clock, tools=TOOLS, pinned_user=pinned, users=users)
    calls = list(_calls(pinned is not None))
    async with harness.client(era) as client:
        for tool, arguments in calls:
            await client.call_tool(tool, arguments)
    for own in (ANY_USER, Principal.of(pinned, users)):
        assert [row.kind for row in await _rows(harness, own)].count("call") == len(calls)
    for other in OTHERS:
        assert await _rows(harness, other) == [], other


async def test_rows_of_the_whole_folder_are_for_everybody(store: Store, clock: Clock) -> None:
    harness = build_harness(store, clock, pinned_user="ann")
    harness.guard.audit.alarm("output_filter.exact")
    await harness.guard.freezes.freeze("terminal")
    await harness.guard.audit.flush()
    for other in OTHERS:
        found = [row.kind for row in await harness.guard.audit.rows(other)]
        assert {"alarm", "setting"} <= set(found)
