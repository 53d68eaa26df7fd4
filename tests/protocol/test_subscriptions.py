"""Who watches an address is told when it reads differently, in the way of their era, and of nothing else."""

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
from tests.protocol.fakes import ERAS, MODERN, TOOLS, Era, House, World, house
from tests.protocol.process import ERAS as WIRE_ERAS
from tests.protocol.process import ODD_SERVER, request, serving
from tests.protocol.process import Era as WireEra
from tests.support.clock import Clock
from tests.support.waiting import PATIENCE

pytestmark = [
    pytest.mark.anyio,
    # The way of the older era, which the SDK calls old.
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]

PAID = "machines://users/anna/paid/all"
MAP = "machines://map"
LEGACY: Era = "legacy"


class PaidOf(UserInput):
    what: str = Field(max_length=20)


class PaidShown(Output):
    paid: int


@tool(title="Paid", toolset="always", action_class=ActionClass.READ)
async def paid(call: ToolContext[World], args: PaidOf) -> PaidShown:
    """Count what a user paid."""
    await call.services.before()
    return PaidShown(paid=sum(who == call.user_id for who, _, _ in call.services.paid))


class AwaitedOf(UserInput):
    wait_seconds: int = Field(0, ge=0, le=50)


@tool(title="Await", toolset="always", action_class=ActionClass.READ)
async def awaited(call: ToolContext[World], args: AwaitedOf) -> PaidShown:
    """Count what a user paid, after a wait."""
    return PaidShown(paid=args.wait_seconds)


RESOURCES = (
    Resource("map", "Map", "What there is.", text="# Map"),
    Resource("paid/{what}", "Paid", "What was paid.", tool="paid"),
)


@pytest.fixture
def home(store: Store, clock: Clock) -> House:
    return house(store, clock, tools=(*TOOLS, paid, awaited), resources=RESOURCES)


@dataclass
class Watcher:
    """A client that watches addresses, and what it was told of."""

    client: Client
    told: Any

    async def pay(self, who: str = "anna") -> None:
        await self.client.call_tool("note", {"user_id": who, "amount_cents": 1})

    async def next(self) -> str:
        with anyio.fail_after(PATIENCE):
            return str(await self.told())


@asynccontextmanager
async def watcher(home: House, era: Era, *addresses: str) -> AsyncIterator[Watcher]:
    with anyio.fail_after(PATIENCE):
        if era == LEGACY:
            send, receive = anyio.create_memory_object_stream[str](100)

            async def handle(message: object) -> None:
                if isinstance(message, types.ResourceUpdatedNotification):
                    await send.send(message.params.uri)

            async with send, receive, Client(home.server, mode=era, message_handler=handle) as client:
                for uri in addresses:
                    await client.subscribe_resource(uri)
                yield Watcher(client, receive.receive)
            return
        async with (
            Client(home.server, mode=era) as client,
            client.listen(resource_subscriptions=list(addresses)) as stream,
        ):

            async def told() -> str:
                event = await anext(stream)
                assert isinstance(event, ResourceUpdated)
                return event.uri

            yield Watcher(client, told)


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_that_changes_what_is_watched_is_told_of_at_once(home: House, era: Era) -> None:
    async with watcher(home, era, PAID, MAP) as watching:
        await watching.pay()
        assert await watching.next() == PAID


@pytest.mark.parametrize("era", ERAS)
async def test_what_reads_the_same_is_not_told_of(home: House, era: Era) -> None:
    other = "machines://users/bob/paid/all"
    async with watcher(home, era, PAID, other, MAP) as watching:
        await watching.pay("bob")
        assert await watching.next() == other
        await watching.pay("bob")
        assert await watching.next() == other


@pytest.mark.parametrize("era", ERAS)
async def test_a_change_by_nobody_here_is_found_after_a_wait_and_not_after_a_read(home: House, era: Era) -> None:
    read: list[None] = []

    async def count() -> None:
        read.append(None)

    async with watcher(home, era, PAID) as found:
        home.world.before = count
        home.world.paid.append(("anna", "elsewhere", 1))
        await found.client.call_tool("awaited", {"user_id": "bob"})
        await anyio.wait_all_tasks_blocked()
        assert read == []
        await found.client.call_tool("awaited", {"user_id": "bob", "wait_seconds": 1})
        assert await found.next() == PAID


@pytest.mark.parametrize("era", ERAS)
async def test_what_can_not_be_read_for_a_while_is_told_of_when_it_has_changed(home: House, era: Era) -> None:
    failed = anyio.Event()

    async def fail() -> None:
        failed.set()
        raise ValueError("nothing to see")

    async def refuse() -> None:
        failed.set()
        raise ToolError(Code.PARTNER_UNAVAILABLE)

    async def nothing() -> None:
        pass

    async with watcher(home, era, PAID) as found:
        home.world.paid.append(("anna", "elsewhere", 1))
        for failure in (fail, refuse):
            failed, home.world.before = anyio.Event(), failure
            await found.client.call_tool("awaited", {"user_id": "bob", "wait_seconds": 1})
            with anyio.fail_after(PATIENCE):
                await failed.wait()
        home.world.before = nothing
        await found.client.call_tool("awaited", {"user_id": "bob", "wait_seconds": 1})
        assert await found.next() == PAID


async def test_an_address_that_leads_nowhere_can_not_be_watched(home: House) -> None:
    nowhere = "machines://users/anna/nothing"
    async with watcher(home, LEGACY) as found:
        with pytest.raises(MCPError) as refused:
            await found.client.subscribe_resource(nowhere)
    assert refused.value.error.code == types.INVALID_PARAMS
    async with (
        Client(home.server, mode=MODERN) as client,
        client.listen(tools_list_changed=True, resource_subscriptions=[nowhere, PAID]) as stream,
    ):
        assert stream.honored.resource_subscriptions == [PAID]
        assert not stream.honored.tools_list_changed


async def test_who_unsubscribes_is_told_nothing_more(home: House) -> None:
    async with watcher(home, LEGACY, PAID, MAP) as found:
        await found.client.unsubscribe_resource(PAID)
        await found.client.unsubscribe_resource("machines://users/anna/never")
        read: list[None] = []

        async def count() -> None:
            read.append(None)

        home.world.before = count
        other = "machines://users/bob/paid/all"
        await found.client.subscribe_resource(other)
        await found.pay()
        await found.pay("bob")
        assert await found.next() == other
        # The two notes, the subscription, and a look at bob's address after each note at most.
        assert len(read) <= 5


async def test_of_two_who_begin_to_watch_at_once_one_may_leave(home: House) -> None:
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

    home.world.before = together
    with anyio.fail_after(PATIENCE):
        async with Client(home.server, mode=MODERN) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(stays, client)
            async with client.listen(resource_subscriptions=[PAID]):
                await opened.wait()
            await client.call_tool("note", {"user_id": "anna", "amount_cents": 1})
    assert told == [ResourceUpdated(PAID)]


async def test_no_more_is_watched_than_can_be_looked_at(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "MOST", 1)
    async with watcher(home, LEGACY, PAID) as found:
        await found.client.subscribe_resource(PAID)
        with pytest.raises(MCPError):
            await found.client.subscribe_resource(MAP)
        await found.client.unsubscribe_resource(PAID)
        await found.client.subscribe_resource(MAP)


@pytest.mark.parametrize("era", WIRE_ERAS)
@pytest.mark.check
async def test_a_client_that_leaves_while_it_listens_is_not_waited_for(tmp_path: Path, era: WireEra) -> None:
    # With such limits, a server that waited would not end before the test gives up.
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
