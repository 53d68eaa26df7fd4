"""Open a state folder that the previous version wrote: approvals continue, and the audit log stays whole.

`previous_version/` holds the folder of a server of the previous version as SQL text, with its keys, passphrase and
calls. Its simulator is gone: each test has one of its own, with the same user.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from machines_mcp.partner import CardLimit, EncryptedField
from machines_mcp.permissions.factory import build_guard
from machines_mcp.permissions.policy import default_policy
from machines_mcp.redaction import scrypt
from machines_mcp.redaction.secret import Secret
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import ANY_USER
from machines_mcp.testing import decide
from machines_mcp.tools import services
from tests.support.cards_in import cards_in
from tests.support.in_process import InProcessSandbox, in_process_sandbox
from tests.support.tool_caller import ToolCaller, caller
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

WRITTEN = Path(__file__).with_name("previous_version")
FOLDER: dict[str, Any] = json.loads((WRITTEN / "folder.json").read_text(encoding="utf-8"))
CALLS: dict[str, dict[str, Any]] = FOLDER["calls"]
USER = "user-1"
PASSPHRASE = "correct horse battery"
# Columns with a time, by table. Audit rows keep their times: each is part of the chain.
TIMES = {
    "intents": ("created_at", "expires_at", "decided_at", "began_at"),
    "quotes": ("created_at", "expires_at"),
    "withdrawals": ("created_at", "updated_at"),
    "mutations": ("created_at", "sent_at", "last_sent_at", "ended_at"),
}


def unpack(root: Path) -> None:
    """Write the folder under `root`, as if its last row was written a moment ago."""
    folder = root / "embedded"
    (folder / "keys").mkdir(parents=True, mode=0o700)
    for name, key in FOLDER["keys"].items():
        (folder / "keys" / f"{name}.key").write_bytes(bytes.fromhex(key))
    (folder / "keys" / "passphrase.json").write_text(json.dumps(FOLDER["passphrase"]), encoding="ascii")
    with closing(sqlite3.connect(folder / "state.db")) as db:
        db.executescript((WRITTEN / "state.sql").read_text(encoding="utf-8"))
        (newest,) = db.execute("SELECT max(created_at) FROM intents").fetchone()
        for table, columns in TIMES.items():
            for column in columns:
                db.execute(f"UPDATE {table} SET {column} = {column} + ?", (time.time() - newest,))  # noqa: S608
        db.commit()


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    unpack(tmp_path)
    return tmp_path


@asynccontextmanager
async def server(state_dir: Path, sandbox: InProcessSandbox) -> AsyncIterator[ToolCaller]:
    """Yield a client without a dialog of a server of today over the folder."""
    async with caller(state_dir, USER, answer=None, sandbox=sandbox) as c:
        yield c


@pytest.fixture
async def sandbox() -> AsyncIterator[InProcessSandbox]:
    """A simulator with the folder's user, verified and funded."""
    async with in_process_sandbox() as found, found.client() as partner:
        await partner.users.resolve(USER)
        await found.control("/kyc", userId=USER, decision="approved")
        await partner.agreements.accept(USER)
        deposit = await partner.deposits.create(USER, "rusd", "base", amount=100)
        await found.control("/deposits", depositId=deposit.id)
        yield found


async def labels(c: ToolCaller) -> list[str]:
    return sorted(card["label"] for card in (await c.call("list_cards"))["cards"])


async def repeat(c: ToolCaller, name: str) -> dict[str, Any]:
    """Repeat the previous version's call with its approval."""
    call = CALLS[name]
    return await c.call(call["tool"], **call["arguments"], approval_id=call["approval_id"])


async def approve(state_dir: Path, name: str) -> None:
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(state_dir)}
    assert await decide(env, CALLS[name]["approval_id"]) == "granted"


async def test_waiting_call_is_approved_and_runs_once(state_dir: Path, sandbox: InProcessSandbox) -> None:
    async with server(state_dir, sandbox) as c:
        assert (await repeat(c, "waiting"))["code"] == "approval.required"
        await approve(state_dir, "waiting")
        card = await repeat(c, "waiting")
        assert card["label"] == CALLS["waiting"]["arguments"]["label"]
        assert await repeat(c, "waiting") == card
        assert await labels(c) == [card["label"]]


@pytest.mark.parametrize("reworded", [True, False])
async def test_equal_call_finds_the_waiting_approval_if_its_details_read_the_same(
    state_dir: Path, sandbox: InProcessSandbox, reworded: bool
) -> None:
    if not reworded:
        # The previous version had the label and the user in its question, and other words for a limit.
        with closing(sqlite3.connect(state_dir / "embedded" / "state.db")) as db:
            query = "SELECT stakes FROM intents WHERE id = ?"
            (text,) = db.execute(query, (CALLS["waiting"]["approval_id"],)).fetchone()
            stakes = json.loads(text.replace('"a limit of $', '"$'))
            stakes["question"] = "Issue a virtual card with a limit of $50.00 per 30 days?"
            by = {"Label": {"by": "agent"}}
            stakes["facts"] = [each | by.get(each["label"], {}) for each in stakes["facts"]]
            change = "UPDATE intents SET stakes = ? WHERE id = ?"
            db.execute(change, (json.dumps(stakes), CALLS["waiting"]["approval_id"]))
            db.commit()
    async with server(state_dir, sandbox) as c:
        asked = await c.call("create_card", **CALLS["waiting"]["arguments"])
    assert asked["code"] == "approval.required"
    assert (asked["approval_id"] == CALLS["waiting"]["approval_id"]) is not reworded


async def test_granted_call_runs_once(state_dir: Path, sandbox: InProcessSandbox) -> None:
    async with server(state_dir, sandbox) as c:
        card = await repeat(c, "granted")
        assert await repeat(c, "granted") == card
        assert await labels(c) == ["Books"]


async def test_other_arguments_do_not_use_the_approval(state_dir: Path, sandbox: InProcessSandbox) -> None:
    changed = CALLS["granted"]["arguments"] | {"limit_amount_cents": 500_000}
    async with server(state_dir, sandbox) as c:
        answer = await c.call("create_card", **changed, approval_id=CALLS["granted"]["approval_id"])
        assert answer["code"] == "approval.mismatch"
        assert await labels(c) == []


@pytest.mark.parametrize("name", ["done", "withdrawn"])
async def test_finished_call_returns_its_first_outcome(state_dir: Path, sandbox: InProcessSandbox, name: str) -> None:
    async with server(state_dir, sandbox) as c:
        assert await repeat(c, name) == CALLS[name]["outcome"]
        assert await labels(c) == []


async def test_rejected_call_stays_rejected(state_dir: Path, sandbox: InProcessSandbox) -> None:
    async with server(state_dir, sandbox) as c:
        assert (await repeat(c, "refused"))["code"] == "approval.refused"


async def test_waiting_withdrawal_uses_its_quote(state_dir: Path, sandbox: InProcessSandbox) -> None:
    async with server(state_dir, sandbox) as c:
        await approve(state_dir, "quoted")
        made = await repeat(c, "quoted")
        assert (made["status"], made["amount_cents"]) == ("ready", 1200)
        assert await repeat(c, "quoted") == made


@pytest.mark.parametrize("happened", [True, False])
async def test_interrupted_call_is_reconciled(
    state_dir: Path, sandbox: InProcessSandbox, monkeypatch: pytest.MonkeyPatch, happened: bool
) -> None:
    monkeypatch.setattr(services, "RECONCILE_SECONDS", 0.5)
    made = await lost_request(state_dir, sandbox) if happened else None
    async with server(state_dir, sandbox) as c:
        card = await repeat(c, "interrupted")
        with anyio.fail_after(PATIENCE):
            while card.get("retryable"):
                await anyio.sleep(card["retry_after_seconds"])
                card = await repeat(c, "interrupted")
        assert [found["card_id"] for found in (await c.call("list_cards"))["cards"]] == [card["card_id"]]
        assert made in (None, card["card_id"])
        assert await repeat(c, "interrupted") == card


async def lost_request(state_dir: Path, sandbox: InProcessSandbox) -> str:
    """Send the request whose response the previous version lost, and return the new card's id."""
    with closing(sqlite3.connect(state_dir / "embedded" / "state.db")) as db:
        (body,) = db.execute("SELECT body FROM mutations WHERE state = 'unknown'").fetchone()
    name, limit = json.loads(body)["encryptedName"], json.loads(body)["limit"]
    async with sandbox.client() as partner:
        made = await partner.cards.create(
            USER,
            encrypted_name=EncryptedField.model_validate(name),
            limit=CardLimit.model_validate(limit),
            idempotency_key=f"machines-{CALLS['interrupted']['approval_id']}",
        )
    return made.card_id


async def test_passphrase_and_audit_log_are_kept(
    state_dir: Path, sandbox: InProcessSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The previous version stored the passphrase at full cost.
    monkeypatch.setattr("machines_mcp.permissions.passphrase._N", scrypt.N)
    store = Store(state_dir / "embedded")
    guard = build_guard(store, default_policy("embedded", read_only=False), ANY_USER)
    assert await guard.passphrase.check(Secret(PASSPHRASE), "terminal") == "right"
    written = await guard.audit.verified()
    async with server(state_dir, sandbox) as c:
        await repeat(c, "granted")
    continued = await guard.audit.verified()
    assert (written.faults, continued.faults) == ((), ())
    assert continued.rows > written.rows == 30
    await store.close()


async def test_row_with_invalid_details_does_not_close_the_folder(state_dir: Path, sandbox: InProcessSandbox) -> None:
    with closing(sqlite3.connect(state_dir / "embedded" / "state.db")) as db:
        broken = db.execute("UPDATE intents SET stakes = '{broken' WHERE id = ?", (CALLS["refused"]["approval_id"],))
        assert broken.rowcount == 1
        db.commit()
    async with server(state_dir, sandbox) as c:
        assert (await repeat(c, "done"))["card_id"]


def test_folder_contains_no_card_number() -> None:
    for file in WRITTEN.iterdir():
        assert cards_in(file.read_text(encoding="utf-8")) == []
