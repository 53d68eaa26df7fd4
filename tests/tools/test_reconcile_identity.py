"""Reconcile KYC, agreements, wallets and deposits whose response was lost, by reading Machines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.interrupted import lose_response, short_reconciliation_wait, unresolved_call
from tests.support.stdio_client import applicant
from tests.support.tool_caller import caller

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures(short_reconciliation_wait.__name__)]

WALLET = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"  # EIP-55
ASKS = 'version = 1\nenvironment = "embedded"\n[classes]\nwrite = "ask"\n'


@pytest.mark.parametrize("done", [True, False])
async def test_application_is_submitted_once(tmp_path: Path, done: bool) -> None:
    async with caller(tmp_path) as c:
        await c.call("resolve_user")
        await lose_response(c, "/kyc/applications", done=done)
        approval = await unresolved_call(c, "submit_kyc", **applicant())
        assert (await c.call("get_kyc_status"))["status"] == ("approved" if done else "not_submitted")
        # The repeated call submits only what Machines does not have.
        await c.control("/faults", kind="status", status=500, path="/kyc/applications", method="POST", exact=True)
        found = await c.call("submit_kyc", **applicant(), approval_id=approval)
        if done:
            assert (found["status"], found["next_steps"][0]["tool"]) == ("approved", "get_agreements")
        else:
            assert found["code"] == "outcome.unknown"


async def test_application_that_waits_for_the_user_can_be_resubmitted(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.call("submit_kyc", **applicant() | {"last_name": "Muster"})
        await c.control("/kyc", userId="tool-user", decision="needs_information")
        await lose_response(c, "/kyc/applications", done=False)
        approval = await unresolved_call(c, "submit_kyc", **applicant())
        assert (await c.call("submit_kyc", **applicant(), approval_id=approval))["status"] == "approved"


@pytest.mark.parametrize("done", [True, False])
async def test_agreements_are_read_back(tmp_path: Path, done: bool) -> None:
    async with caller(tmp_path) as c:
        await c.call("submit_kyc", **applicant())
        await lose_response(c, "/agreements", done=done)
        approval = await unresolved_call(c, "accept_agreements")
        first = (await c.call("get_agreements")).get("accepted_at")
        found = await c.call("accept_agreements", approval_id=approval)
        assert found["accepted"] is True
        assert (first == found["accepted_at"]) is done


@pytest.mark.parametrize("linked", [None, "0x" + "cd" * 20])
@pytest.mark.parametrize("done", [True, False])
async def test_wallet_is_read_back(tmp_path: Path, done: bool, linked: str | None) -> None:
    async with caller(tmp_path) as c:
        await c.call("resolve_user", **({"wallet_address": linked} if linked else {}))
        await lose_response(c, "/users/resolve", done=done)
        approval = await unresolved_call(c, "resolve_user", wallet_address=WALLET)
        found = await c.call("resolve_user", wallet_address=WALLET, approval_id=approval)
        assert found["wallet_address"] == WALLET.lower()
        assert (await c.call("resolve_user"))["wallet_address"] == WALLET.lower()


@pytest.mark.parametrize("honoured", [True, False], ids=["keys", "no-keys"])
@pytest.mark.parametrize("done", [True, False], ids=["made", "not-made"])
async def test_deposit_is_found_or_created_again(tmp_path: Path, done: bool, honoured: bool) -> None:
    order: dict[str, Any] = {"currency": "rusd", "network": "base", "amount": 20}
    policy = tmp_path / "policy.toml"
    policy.write_text(ASKS, encoding="utf-8")
    policy.chmod(0o600)
    async with caller(tmp_path, policy=policy) as c:
        await c.approved()
        other = (await c.call("create_deposit", **order))["deposit_id"]
        await c.control("/keys", honoured=honoured)
        await lose_response(c, "/deposits", done=done)
        approval = await unresolved_call(c, "create_deposit", **order)
        found = await c.call("create_deposit", **order, approval_id=approval)
        ids = {each["deposit_id"] for each in (await c.call("list_deposits", scope="all"))["deposits"]}
        assert ids == {other, found["deposit_id"]}
        assert found["deposit_id"] != other


async def test_ambiguous_deposits_are_not_matched_and_another_is_created(tmp_path: Path) -> None:
    order: dict[str, Any] = {"currency": "rusd", "network": "base", "amount": 20}
    policy = tmp_path / "policy.toml"
    policy.write_text(ASKS, encoding="utf-8")
    policy.chmod(0o600)
    async with caller(tmp_path, policy=policy) as c:
        await c.approved()
        approvals = []
        await c.control("/keys", honoured=False)
        for _ in range(2):
            await lose_response(c, "/deposits", done=True)
            approvals.append(await unresolved_call(c, "create_deposit", **order))
        assert approvals[0] != approvals[1]
        before = {each["deposit_id"] for each in (await c.call("list_deposits", scope="all"))["deposits"]}
        found = await c.call("create_deposit", **order, approval_id=approvals[0])
        assert len(before) == 2
        assert found["deposit_id"] not in before
