"""Two users who share a state folder. Everything about the second is marked, so that it can be searched for."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machines_mcp.partner import CardLimit
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import open_guard
from tests.support.in_process import InProcessSandbox
from tests.support.tool_caller import ToolCaller, caller

ANN, BOB = "ann", "bob-the-neighbour"
ADDRESS = "0x" + "b0b5" * 10
CENTS = 234_567
MARKS = (
    BOB,
    ADDRESS,
    "2,345.67",
    str(CENTS),
    "Bobs surprise",
    "bobs-label-for-the-model",
    "767.89",
    "765433",
    "7,654.33",
)
"""The user, the address, the amount, a card's label, an agent's name, a card's limit, and what the amount leaves."""
POLICY = """
version = 1
environment = "embedded"
users = {users}
[classes]
write = "ask"
[cards]
unbounded = true
[withdrawals]
per_day_cents = 1_000_000
[rates]
asks_per_minute = 100
mutations_per_hour = 100
"""


@dataclass
class Neighbours:
    """The folder, and the ids of what Bob did there by kind."""

    folder: Path
    policy: dict[str, Path]
    sandbox: InProcessSandbox
    pinned: bool
    ids: dict[str, str] = field(default_factory=dict)

    def env(self, user_id: str) -> dict[str, str]:
        """Return the settings of the user's server."""
        env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(self.folder)}
        return (
            env
            | {"MACHINES_POLICY": str(self.policy[user_id])}
            | ({"MACHINES_USER_ID": user_id} if self.pinned else {})
        )

    @asynccontextmanager
    async def server(self, user_id: str) -> AsyncIterator[ToolCaller]:
        """Run the user's server. Its client has no dialog."""
        pinned, rules = user_id if self.pinned else None, self.policy[user_id]
        async with caller(self.folder, pinned, answer=None, policy=rules, sandbox=self.sandbox) as c:
            yield c

    def who(self, user_id: str) -> dict[str, str]:
        """Return the arguments that name the user."""
        return {} if self.pinned else {"user_id": user_id}

    def found_in(self, text: str) -> list[str]:
        """Return what a text says about Bob."""
        return [mark for mark in (*MARKS, *self.ids.values()) if mark in text]


def policies(folder: Path, *, pinned: bool) -> dict[str, Path]:
    """Write one policy for both users, or one for each that lists only that user."""
    made = {}
    for user_id in (ANN, BOB):
        path = made[user_id] = folder / ("policy.toml" if pinned else f"policy-{user_id}.toml")
        path.write_text(POLICY.format(users=f'["{ANN}", "{BOB}"]' if pinned else f'["{user_id}"]'), encoding="ascii")
        path.chmod(0o600)
    return made


async def prepare(home: Neighbours) -> None:
    """Let both users reach a funded account, and Bob ask for and do all that can be asked and done."""
    async with home.sandbox.client() as partner:
        for user_id in (ANN, BOB):
            await partner.users.resolve(user_id, wallet_address=ADDRESS if user_id == BOB else "0x" + "a1" * 20)
            await home.sandbox.control("/kyc", userId=user_id, decision="approved")
            await partner.agreements.accept(user_id)
            deposit = await partner.deposits.create(user_id, "rusd", "base", amount=5000)
            await home.sandbox.control("/deposits", depositId=deposit.id)
        card = await partner.cards.create(BOB, limit=CardLimit(amount_cents=76_789, frequency="per30DayPeriod"))
        home.ids |= {"card": card.card_id, "deposit": deposit.id}
    async with home.server(BOB) as c:
        terms = {"amount_cents": CENTS, "currency": "rusd", "network": "base", "address": ADDRESS}
        quoted = await c.call("quote_withdrawal", **terms, **home.who(BOB))
        home.ids["quote"] = quoted["quote_id"]
        for kind, tool, given in (
            ("withdrawal", "create_withdrawal", {"quote_id": quoted["quote_id"]}),
            ("label", "create_card", {"label": "bobs-label-for-the-model"}),
            ("executing", "create_card", {"label": "Bobs surprise"}),
        ):
            home.ids[kind] = (await c.call(tool, **given, **home.who(BOB)))["approval_id"]
    async with open_guard(read_settings(home.env(BOB))) as guard:
        for kind, action_class, details in (
            ("form", ActionClass.IDENTITY, ApprovalDetails(f"Fill in the form of {BOB}?", only="form")),
            ("refused", ActionClass.MONEY, ApprovalDetails(f"Pay {BOB} $2,345.67?", amount_cents=CENTS)),
            ("granted", ActionClass.WRITE, ApprovalDetails(f"Deposit for {BOB}?", card_id=home.ids["card"])),
        ):
            tool = "submit_kyc" if kind == "form" else "create_deposit"
            request = CallRequest(tool, action_class, BOB, kind, "Bobs surprise")
            home.ids[kind] = (await guard.approvals.open(request, details)).id
        assert await guard.approvals.refuse(home.ids["refused"], "terminal")
        assert await guard.approvals.grant(home.ids["granted"], "terminal")
        assert await guard.freezes.freeze("terminal", BOB)
    _leave_unresolved(home)


def _leave_unresolved(home: Neighbours) -> None:
    """Leave a call that a dead server was executing, and a withdrawal whose call has ended."""
    home.ids["transaction"] = home.ids["open withdrawal"] = "wd_" + "b" * 32
    with closing(sqlite3.connect(read_settings(home.env(BOB)).state_dir / "state.db")) as db, db:
        change = "UPDATE approvals SET state = 'executing', started_at = ?, owner = ? WHERE id = ?"
        db.execute(change, (time.time(), "0" * 32, home.ids["executing"]))
        row = (home.ids["open withdrawal"], BOB, home.ids["quote"], "unknown", 1.0, 1.0, "ended")
        db.execute("INSERT INTO withdrawals VALUES (?, ?, ?, ?, NULL, ?, ?, ?)", row)
        columns = "withdrawal_id, user_id, state, expires_at, sender, hash, updated_at"
        values = (row[0], BOB, "sent", time.time() + 1000, ADDRESS, "0x" + "b0" * 32, 1.0)
        db.execute(f"INSERT INTO transactions ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608


def texts(value: Any) -> Iterator[str]:
    """Yield a value as JSON text and as Python text, in which quotes are written differently."""
    yield str(value)
    yield value.model_dump_json() if hasattr(value, "model_dump_json") else repr(value)
