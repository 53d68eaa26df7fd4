from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace

import anyio
import pytest
from anyio.abc import ByteStream

from machines_mcp.partner import PartnerClient, concurrency, errors
from machines_mcp.partner.concurrency import RequestLimiter
from machines_mcp.redaction.secret import Secret
from tests.support.partner_upstream import PARTNER_KEY, ScriptedUpstream, good, stall
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio


class BlockedRequests:
    """Requests that hold their slots until released."""

    def __init__(self, shared: RequestLimiter) -> None:
        self._lanes = shared
        self.inside: list[str | None] = []
        self.go = anyio.Event()

    async def request(self, user_id: str | None) -> None:
        async with self._lanes.slot(user_id):
            self.inside.append(user_id)
            await self.go.wait()


@pytest.mark.parametrize(
    ("coming", "inside"),
    [
        (["one"] * 9, {"one": 4}),
        (["one"] * 9 + ["two"] * 2, {"one": 4, "two": 2}),
        ([f"user-{number}" for number in range(40)], 16),
        ([None] * 20, {None: 16}),
        (["one"] * 9 + [None] * 20, {"one": 4, None: 12}),
    ],
    ids=["one user", "another beside", "many users", "the partner", "the partner beside a user"],
)
async def test_concurrent_requests_are_limited_and_the_rest_wait(
    coming: list[str | None], inside: dict[str | None, int] | int
) -> None:
    crowd = BlockedRequests(RequestLimiter())
    async with anyio.create_task_group() as group:
        for user_id in coming:
            group.start_soon(crowd.request, user_id)
        await anyio.wait_all_tasks_blocked()
        found = {user_id: crowd.inside.count(user_id) for user_id in crowd.inside}
        assert found == inside if isinstance(inside, dict) else len(crowd.inside) == inside
        crowd.go.set()
    assert sorted(map(str, crowd.inside)) == sorted(map(str, coming))


async def test_cancelled_waiter_gives_its_slot_to_the_next() -> None:
    shared = RequestLimiter(total=2, per_user=1)
    first, second = BlockedRequests(shared), BlockedRequests(shared)
    async with anyio.create_task_group() as group:
        group.start_soon(first.request, "one")
        await anyio.wait_all_tasks_blocked()
        for user_id in ("one", "two"):
            with anyio.move_on_after(0.01) as scope:
                async with shared.slot(user_id):
                    await anyio.sleep_forever()
            assert scope.cancelled_caught
        group.start_soon(second.request, "two")
        await anyio.wait_all_tasks_blocked()
        assert second.inside == ["two"]
        first.go.set()
        second.go.set()
    assert shared._users == {}


async def test_client_sends_at_most_as_many_requests_as_it_has_slots(
    api: ScriptedUpstream, client: PartnerClient
) -> None:
    gate, under_way, most = anyio.Event(), 0, 0

    async def answer(stream: ByteStream) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await gate.wait()
        under_way -= 1
        await good({"cards": []})(stream)

    api.on("GET", "/cards", answer)
    async with anyio.create_task_group() as group:
        for number in range(60):
            group.start_soon(client.cards.list, f"user-{number % 6}")
        await api.received(6 + concurrency.TOTAL)
        gate.set()
    assert most == concurrency.TOTAL
    assert len(api.calls) == 60


async def test_one_users_stalled_calls_do_not_block_another_user(api: ScriptedUpstream, client: PartnerClient) -> None:
    api.on("GET", "/cards", stall)
    api.on("GET", "/deposits", good({"deposits": []}))
    async with anyio.create_task_group() as group:
        for _ in range(3 * concurrency.TOTAL):
            group.start_soon(client.cards.list, "one")
        await api.received(1 + concurrency.PER_USER)
        assert (await client.deposits.list("two")).deposits == ()
        group.cancel_scope.cancel()
    assert len([seen for seen in api.calls if seen.path == "/cards"]) == concurrency.PER_USER


async def test_waiting_for_a_slot_keeps_the_deadline_and_sends_nothing(api: ScriptedUpstream) -> None:
    async with PartnerClient(api.base_url, Secret(PARTNER_KEY), deadline=PATIENCE) as client, AsyncExitStack() as held:
        await client.sessions.open("one", ["cards.write"])
        client._channel = replace(client._channel, deadline=0.1)
        for _ in range(concurrency.PER_USER):
            await held.enter_async_context(client._transport._limiter.slot("one"))
        with anyio.fail_after(PATIENCE), pytest.raises(errors.TimedOut) as caught:
            await client.cards.create("one")
    assert caught.value.outcome_known
    assert api.calls == []
