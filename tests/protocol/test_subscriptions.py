"""A subscriber is notified when its resource's content changes, in the form of its era, and of nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.server.subscriptions import ResourceUpdated
from pydantic import Field

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.protocol import subscriptions
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.protocol.resources import Resource
from machines_mcp.protocol.tool import Output, ToolContext, UserInput, tool
from machines_mcp.storage.database import Store
from tests.support.clock import Clock
from tests.support.fake_tools import ERAS, MODERN, TOOLS, Era, FakeUpstream, Harness, build_harness
from tests.support.server_process import ERAS as WIRE_ERAS
from tests.support.server_process import ODD_SERVER, request, serving
from tests.support.server_process import Era as WireEra
from tests.support.waiting import PATIENCE

pytestmark = [
    pytest.mark.anyio,
    # The SDK's name for 2025-11-25.
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]

PAID = "machines://users/anna/paid/all"
MAP = "machines://map"
LEGACY: Era = "legacy"


class PaidOf(UserInput):
    what: str = Field(max_length=20)


class PaidShown(Output):
    paid: int


@tool(title="Paid", toolset="always", action_class=ActionClass.READ, idempotent=True)
async def paid(call: ToolContext[FakeUpstream], args: PaidOf) -> PaidShown:
    """Count what a user paid."""
    await call.services.before()
    return PaidShown(paid=sum(who == call.user_id for who, _, _ in call.services.paid))


class AwaitedOf(UserInput):
    wait_seconds: int = Field(0, ge=0, le=50)


@tool(title="Await", toolset="always", action_class=ActionClass.READ, idempotent=True)
async def awaited(call: ToolContext[FakeUpstream], args: AwaitedOf) -> PaidShown:
    """Count what a user paid, after a wait."""
    return PaidShown(paid=args.wait_seconds)


RESOURCES = (
    Resource("map", "Map", "What there is.", text="# Map"),
    Resource("paid/{what}", "Paid", "What was paid.", tool="paid"),
)


@pytest.fixture
def harness(store: Store, clock: Clock) -> Harness:
    users = frozenset({"anna", "bob", *(f"user-{number}" for number in range(subscriptions.MOST + 1))})
    return build_harness(store, clock, tools=(*TOOLS, paid, awaited), resources=RESOURCES, users=users)


@dataclass
class Watcher:
    """A client that subscribes to resources, and its notifications."""

    client: Client
    told: Any

    async def pay(self, who: str = "anna") -> None:
        await self.client.call_tool("note", {"user_id": who, "amount_cents": 1})

    async def next(self) -> str:
        with anyio.fail_after(PATIENCE):
            return str(await self.told())


@asynccontextmanager
async def watcher(harness: Harness, era: Era, *addresses: str) -> AsyncIterator[Watcher]:
    with anyio.fail_after(PATIENCE):
        if era == LEGACY:
            send, receive = anyio.create_memory_object_stream[str](100)

            async def handle(message: object) -> None:
                if isinstance(message, types.ResourceUpdatedNotification):
                    await send.send(message.params.uri)

            async with send, receive, Client(harness.server, mode=era, message_handler=handle) as client:
                for uri in addresses:
                    await client.subscribe_resource(uri)
                yield Watcher(client, receive.receive)
            return
        async with (
            Client(harness.server, mode=era) as client,
            client.listen(resource_subscriptions=list(addresses)) as stream,
        ):

            async def told() -> str:
                event = await anext(stream)
                assert isinstance(event, ResourceUpdated)
                return event.uri

            yield Watcher(client, told)


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_that_changes_a_resource_notifies_at_once(harness: Harness, era: Era) -> None:
    async with watcher(harness, era, PAID, MAP) as watching:
        await watching.pay()
        assert await watching.next() == PAID


@pytest.mark.parametrize("era", ERAS)
async def test_unchanged_content_sends_no_notification(harness: Harness, era: Era) -> None:
    other = "machines://users/bob/paid/all"
    async with watcher(harness, era, PAID, other, MAP) as watching:
        await watching.pay("bob")
        assert await watching.next() == other
        await watching.pay("bob")
        assert await watching.next() == other


@pytest.mark.parametrize("era", ERAS)
async def test_an_outside_change_is_noticed_only_after_a_waiting_call(harness: Harness, era: Era) -> None:
    read: list[None] = []

    async def count() -> None:
        read.append(None)

    async with watcher(harness, era, PAID) as found:
        harness.upstream.before = count
        harness.upstream.paid.append(("anna", "elsewhere", 1))
        await found.client.call_tool("awaited", {"user_id": "bob"})
        await anyio.wait_all_tasks_blocked()
        assert read == []
        await found.client.call_tool("awaited", {"user_id": "bob", "wait_seconds": 1})
        assert await found.next() == PAID


@pytest.mark.parametrize("era", ERAS)
async def test_a_change_is_reported_after_failed_reads(harness: Harness, era: Era) -> None:
    failed = anyio.Event()

    async def fail() -> None:
        failed.set()
        raise ValueError("nothing to see")

    async def refuse() -> None:
        failed.set()
        raise ToolError(Code.PARTNER_UNAVAILABLE)

    async def nothing() -> None:
        pass

    async with watcher(harness, era, PAID) as found:
        harness.upstream.paid.append(("anna", "elsewhere", 1))
        for failure in (fail, refuse):
            failed, harness.upstream.before = anyio.Event(), failure
            await found.client.call_tool("awaited", {"user_id": "bob", "wait_seconds": 1})
            with anyio.fail_after(PATIENCE):
                await failed.wait()
        harness.upstream.before = nothing
        await found.client.call_tool("awaited", {"user_id": "bob", "wait_seconds": 1})
        assert await found.next() == PAID


async def test_an_unknown_uri_cannot_be_subscribed_to(harness: Harness) -> None:
    nowhere = "machines://users/anna/nothing"
    async with watcher(harness, LEGACY) as found:
        with pytest.raises(MCPError) as refused:
            await found.client.subscribe_resource(nowhere)
    assert refused.value.error.code == types.INVALID_PARAMS
    async with (
        Client(harness.server, mode=MODERN) as client,
        client.listen(tools_list_changed=True, resource_subscriptions=[nowhere, PAID]) as stream,
    ):
        assert stream.honored.resource_subscriptions == [PAID]
        assert not stream.honored.tools_list_changed


async def test_unsubscribing_stops_notifications(harness: Harness) -> None:
    async with watcher(harness, LEGACY, PAID, MAP) as found:
        await found.client.unsubscribe_resource(PAID)
        await found.client.unsubscribe_resource("machines://users/anna/never")
        read: list[None] = []

        async def count() -> None:
            read.append(None)

        harness.upstream.before = count
        other = "machines://users/bob/paid/all"
        await found.client.subscribe_resource(other)
        await found.pay()
        await found.pay("bob")
        assert await found.next() == other
        # Two notes and the subscription, plus at most one read of bob's resource after each note.
        assert len(read) <= 5


async def test_concurrent_subscribers_are_independent(harness: Harness) -> None:
    reads, both, opened = [0], anyio.Event(), anyio.Event()
    told: list[object] = []

    async def together() -> None:
        reads[0] += 1
        if reads[0] == 2:
            both.set()
        await both.wait()

    async def stays(client: Client) -> None:
        async with client.listen(resource_subscriptions=[PAID]) as stream:
            opened.set()
            told.append(await anext(stream))

    harness.upstream.before = together
    with anyio.fail_after(PATIENCE):
        async with Client(harness.server, mode=MODERN) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(stays, client)
            async with client.listen(resource_subscriptions=[PAID]):
                await opened.wait()
            await client.call_tool("note", {"user_id": "anna", "amount_cents": 1})
    assert told == [ResourceUpdated(PAID)]


async def test_subscriptions_are_limited_in_number(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "MOST", 1)
    async with watcher(harness, LEGACY, PAID) as found:
        await found.client.subscribe_resource(PAID)
        with pytest.raises(MCPError):
            await found.client.subscribe_resource(MAP)
        await found.client.unsubscribe_resource(PAID)
        await found.client.subscribe_resource(MAP)


@pytest.mark.parametrize("era", WIRE_ERAS)
@pytest.mark.check
async def test_a_client_that_leaves_while_listening_does_not_delay_the_end(tmp_path: Path, era: WireEra) -> None:
    # With these limits, a server that waited would not end before the test's own limit.
    limits = {"ODD_STOP_SECONDS": "600", "ODD_DRAIN_SECONDS": "600"}
    async with serving(tmp_path, era, command=ODD_SERVER, **limits) as served:
        if era == "2026-07-28":
            wanted = {"notifications": {"resourceSubscriptions": ["machines://journey"]}}
            await served.send(request(era, 7, "subscriptions/listen", wanted))
            assert (await served.message())["method"] == "notifications/subscriptions/acknowledged"
        else:
            assert "result" in await served.ask("resources/subscribe", {"uri": "machines://journey"})
        await served.hang_up()
        assert await served.ended() == 0
