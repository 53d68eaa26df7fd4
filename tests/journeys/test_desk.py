"""A person at the desk of a server, and an agent whose client has no dialog."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from machines_mcp.permissions.factory import build_guard
from machines_mcp.permissions.policy import default_policy
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import open_guard
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from tests.support.running_desk import PASSPHRASE, FakeBrowser
from tests.support.running_sandbox import Sandbox
from tests.support.stdio_client import ERAS, Agent, Era, ToolError, agent, applicant
from tests.support.waiting import PATIENCE
from tests.support.wrong_tries import end_delays

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def at_the_desk(address: str, passphrase: str | None = None) -> AsyncIterator[FakeBrowser]:
    """Return a person with a browser, signed in if the desk requires the passphrase."""
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        person = FakeBrowser(address, http)
        if passphrase is not None:
            assert (await person.sign_in(passphrase)).status_code == 303
        yield person


async def approval_required(model: Agent, tool: str, **arguments: Any) -> dict[str, Any]:
    """Return the error that says where a person decides."""
    with pytest.raises(ToolError) as caught:
        await model.call(tool, arguments)
    assert caught.value.code == "approval.required", caught.value.body
    return caught.value.body


async def fill_in(person: FakeBrowser, page: str, **more: str) -> None:
    """Submit the identity form."""
    path = page.removeprefix(person.home)
    await person.get(path)
    assert (await person.post(path, {**applicant(), "action": "send", **more})).status_code == 303


@pytest.mark.parametrize("era", ERAS)
async def test_call_approved_at_the_desk_runs_when_repeated(tmp_path: Path, era: Era) -> None:
    async with agent(tmp_path, era, dialog=False, who="desk-user") as model:
        form = await approval_required(model, "submit_kyc")
        home = re.sub(r"kyc/.*", "", form["page"])
        async with at_the_desk(home) as person:
            await fill_in(person, form["page"])
            assert (await model.call("submit_kyc", approval_id=form["approval_id"]))["status"] == "approved"
            agreements = await approval_required(model, "accept_agreements")
            assert agreements["desk"] == home
            path = f"/decisions/{agreements['approval_id']}"
            assert "desk-user" in (await person.get(path)).text
            assert (await person.post(path, {"decision": "approve"})).status_code == 303
            done = await model.call("accept_agreements", approval_id=agreements["approval_id"])
            assert done["accepted"] is True
            card = await approval_required(model, "create_card", limit_amount_cents=500, limit_frequency="allTime")
            await person.get()
            assert (await person.post(f"/decisions/{card['approval_id']}", {"decision": "refuse"})).status_code == 303
            again = {"limit_amount_cents": 500, "limit_frequency": "allTime", "approval_id": card["approval_id"]}
            assert (await model.refusal("create_card", **again))[0] == "approval.refused"
            assert (await model.call("list_cards"))["cards"] == []


async def test_desk_requires_the_passphrase_outside_the_simulator(tmp_path: Path, sandbox: Sandbox) -> None:
    settings = {
        "MACHINES_ENV": "sandbox",
        "MACHINES_API_URL": sandbox.base_url,
        "MACHINES_PARTNER_KEY": sandbox.partner_key,
        "MACHINES_USER_ID": f"desk-user-{tmp_path.name}",
    }
    store = Store(read_settings(settings | {"MACHINES_STATE_DIR": str(tmp_path)}).state_dir)
    guard = build_guard(store, default_policy("sandbox", read_only=False), ANY_USER)
    await guard.passphrase.set(Secret(PASSPHRASE))
    await guard.audit.close()
    await store.close()
    async with agent(tmp_path, "2026-07-28", dialog=False, **settings) as model:
        form = await approval_required(model, "submit_kyc")
        home = re.sub(r"kyc/.*", "", form["page"])
        async with at_the_desk(home, PASSPHRASE) as person:
            await fill_in(person, form["page"], passphrase=PASSPHRASE)
            assert (await model.call("submit_kyc", approval_id=form["approval_id"]))["status"] == "approved"
            agreements = await approval_required(model, "accept_agreements")
            path = f"/decisions/{agreements['approval_id']}"
            await person.get()
            assert (await person.post(path, {"decision": "approve"})).status_code == 422
            assert (await person.post(path, {"decision": "approve", "passphrase": "not it"})).status_code == 403
            assert (await model.refusal("accept_agreements", approval_id=agreements["approval_id"]))[0] == (
                "approval.required"
            )
            async with open_guard(read_settings(settings | {"MACHINES_STATE_DIR": str(tmp_path)})) as guard:
                await end_delays(guard)
            await person.get()
            assert (await person.post(path, {"decision": "approve", "passphrase": PASSPHRASE})).status_code == 303
            done = await model.call("accept_agreements", approval_id=agreements["approval_id"])
            assert done["accepted"] is True


async def test_two_servers_of_a_folder_share_a_desk_that_outlives_the_first(tmp_path: Path) -> None:
    async with agent(tmp_path, "2026-07-28", dialog=False, who="a") as second:
        async with agent(tmp_path, "2026-07-28", dialog=False, who="a") as first:
            form = await approval_required(first, "submit_kyc")
            other = await approval_required(second, "submit_kyc")
            assert other["page"] == form["page"]
        # The first has ended, so the second serves the desk at the same address.
        moved = await approval_required(second, "submit_kyc")
        assert moved["approval_id"] == form["approval_id"]
        assert moved["page"] == form["page"]
        async with at_the_desk(re.sub(r"kyc/.*", "", moved["page"])) as person:
            await fill_in(person, moved["page"])
        assert (await second.call("submit_kyc", approval_id=moved["approval_id"]))["status"] == "approved"
