"""A server killed during an approved call, the next one over its folder, and the upstream state."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from machines_mcp.partner import PartnerClient
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.factory import build_guard
from machines_mcp.permissions.policy import default_policy
from machines_mcp.redaction.secret import Secret
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from machines_mcp.tools.example_identity import example_application
from tests.support.running_sandbox import Sandbox, in_thread
from tests.support.server_process import ERAS, Era, Served, serving
from tests.support.waiting import PATIENCE, eventually_async

pytestmark = pytest.mark.anyio

# Long enough to observe, short enough for a test.
SETTLE_SECONDS = 0.6
_CHILD = """
import os, signal, sys
from machines_mcp.storage import failpoints
from machines_mcp.protocol import reconciliation
from machines_mcp.tools import services
services.RECONCILE_SECONDS = {settle}
# A busy machine takes long to reconcile, and the call is to have the outcome.
reconciliation.CALL_SECONDS = {patience}
def die(name):
    if name == {point!r}:
        os.kill(os.getpid(), signal.SIGKILL)
failpoints.hook = die
from machines_mcp.cli.main import main
from machines_mcp.storage.principal import ANY_USER
main(["serve"])
"""
MODERN: Era = "2026-07-28"
CARD = {"label": "Groceries", "limit_amount_cents": 5000, "limit_frequency": "per30DayPeriod"}


class Folder:
    """A state folder, the upstream of its servers, and a user who may have cards."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder = folder
        self.sandbox = sandbox
        self.user = f"cut-short-{uuid.uuid4().hex[:12]}"

    async def control(self, path: str, /, **body: Any) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(f"{self.sandbox.control_url}{path}", json=body)
        assert answer.is_success, answer.text

    @asynccontextmanager
    async def partner(self) -> AsyncIterator[PartnerClient]:
        async with PartnerClient(self.sandbox.base_url, Secret(self.sandbox.partner_key)) as client:
            yield client

    @asynccontextmanager
    async def server(self, *, dies_at: str | None = None, era: Era = MODERN) -> AsyncIterator[Served]:
        """Run a server over the folder, which may kill itself at a failpoint."""
        command = ("-c", _CHILD.format(settle=SETTLE_SECONDS, patience=PATIENCE, point=dies_at))
        settings = {
            "MACHINES_ENV": "sandbox",
            "MACHINES_API_URL": self.sandbox.base_url,
            "MACHINES_PARTNER_KEY": self.sandbox.partner_key,
            "MACHINES_USER_ID": self.user,
        }
        async with serving(self.folder, era, command=command, **settings) as served:
            yield served

    async def granted(self, served: Served, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Request and approve a call, and return its arguments for the repetition."""
        asked = answered(await served.call(tool, arguments))
        assert asked["code"] == "approval.required", asked
        store = self.store()
        try:
            guard = build_guard(store, default_policy("sandbox", read_only=False), ANY_USER)
            assert await guard.approvals.grant(asked["approval_id"], "terminal")
        finally:
            await store.close()
        return arguments | {"approval_id": asked["approval_id"]}

    def store(self) -> Store:
        """Open the servers' database."""
        (database,) = (self.folder / "state").rglob("state.db")
        return Store(database.parent)

    async def cards(self) -> list[str]:
        async with self.partner() as client:
            return [str(card.card_id) for card in (await client.cards.list(self.user)).cards]


def answered(result: dict[str, Any]) -> dict[str, Any]:
    """Return the object in a tool's response."""
    return dict(json.loads(result["content"][0]["text"]))


async def call_until_killed(served: Served, tool: str, arguments: dict[str, Any]) -> None:
    """Make a call during which the server is killed."""
    with pytest.raises(anyio.EndOfStream):
        await served.call(tool, arguments)
    with anyio.fail_after(PATIENCE):
        assert await served.process.wait() != 0


@pytest.fixture(scope="module")
def upstream() -> Iterator[Sandbox]:
    """Return a sandbox for this module only, because its tests inject faults and disable keys."""
    with in_thread() as started:
        yield started


@pytest.fixture
async def home(tmp_path: Path, upstream: Sandbox) -> Folder:
    found = Folder(tmp_path, upstream)
    await found.control("/keys", honoured=True)
    async with found.partner() as client:
        await client.users.resolve(found.user)
        await client.kyc.submit(found.user, example_application())
        await client.agreements.accept(found.user)
    return found


@pytest.mark.parametrize(
    ("point", "keys", "era"),
    [
        pytest.param("request.answered", True, MODERN),
        pytest.param("request.answered", True, ERAS[0], marks=pytest.mark.check),
        *(
            pytest.param(point, keys, MODERN, marks=pytest.mark.check)
            for point in ("approval.consumed", "journal.begun", "request.sent", "request.answered", "journal.ended")
            for keys in (True, False)
            if (point, keys) != ("request.answered", True)
        ),
    ],
)
async def test_card_of_a_killed_server_is_created_once_and_returned(
    home: Folder, point: str, keys: bool, era: Era
) -> None:
    await home.control("/keys", honoured=keys)
    async with home.server(dies_at=point, era=era) as served:
        again = await home.granted(served, "create_card", CARD)
        await call_until_killed(served, "create_card", again)
    async with home.server(era=era) as served:
        told = [answered(await served.call("create_card", again)) for _ in range(2)]
    assert told[0] == told[1]
    assert [told[0]["card_id"]] == await home.cards()
    assert (told[0]["label"], told[0]["limit_amount_cents"]) == (CARD["label"], CARD["limit_amount_cents"])


@pytest.mark.parametrize(
    ("happened", "same_server"),
    [
        (True, False),
        (False, True),
        pytest.param(True, True, marks=pytest.mark.check),
        pytest.param(False, False, marks=pytest.mark.check),
    ],
)
async def test_card_with_a_lost_response_is_created_once_and_returned(
    home: Folder, happened: bool, same_server: bool
) -> None:
    async with home.server() as served:
        again = await home.granted(served, "create_card", CARD)
        await home.control("/faults", kind="after" if happened else "drop", path="/cards", method="POST", exact=True)
        lost = answered(await served.call("create_card", again))
        assert (lost["code"], lost["approval_id"]) == ("outcome.unknown", again["approval_id"])
        if same_server:
            told = answered(await served.call("create_card", again))
    if not same_server:
        async with home.server() as served:
            told = answered(await served.call("create_card", again))
    assert "card_id" in told, told
    assert [told["card_id"]] == await home.cards()


async def test_next_server_reconciles_by_itself(home: Folder) -> None:
    async with home.server(dies_at="request.answered") as served:
        again = await home.granted(served, "create_card", CARD)
        await call_until_killed(served, "create_card", again)
    (card_id,) = await home.cards()
    store = home.store()
    try:
        guard = build_guard(store, default_policy("sandbox", read_only=False), ANY_USER)
        async with home.server():

            async def look() -> Approval | None:
                approval = await guard.approvals.get(again["approval_id"])
                assert approval is not None
                assert approval.state in ("executing", "done")
                return approval if approval.state == "done" else None

            approval = await eventually_async(look)
            assert approval is not None
        assert json.loads(approval.outcome or "")["card_id"] == card_id
        assert await guard.journal.unresolved() == []
    finally:
        await store.close()
    assert await home.cards() == [card_id]


async def test_mutation_that_can_not_be_journaled_is_not_sent(home: Folder) -> None:
    async with home.server() as served:
        again = await home.granted(served, "create_card", CARD)
        store = home.store()
        try:
            # Like a full disk, but for this table only, so that no earlier write fails.
            refusing = "CREATE TRIGGER full BEFORE INSERT ON mutations BEGIN SELECT raise(FAIL, 'full'); END"
            await store.run(lambda db: db.execute(refusing))
            for arguments in (again, {"currency": "rusd", "network": "base"}):
                tool = "create_card" if arguments is again else "create_deposit"
                assert answered(await served.call(tool, arguments))["code"] == "state.unavailable"
            async with home.partner() as client:
                assert await home.cards() == []
                assert list((await client.deposits.list(home.user, scope="all")).deposits) == []
            await store.run(lambda db: db.execute("DROP TRIGGER full"))
        finally:
            await store.close()
        made = answered(await served.call("create_card", again))
    assert [made["card_id"]] == await home.cards()
