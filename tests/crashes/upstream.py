"""Upstream: a sandbox that outlives the servers, control calls, and the final state.

The state is read from the sandbox's database, so it depends neither on the server's responses nor on the API.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machines_mcp.sandbox.cards import SEALED_AS
from machines_mcp.sandbox.state import State
from tests.crashes.operations import STEP
from tests.support.running_sandbox import Sandbox, running
from tests.support.waiting import PATIENCE

Marks = Counter[tuple[str, int]]
"""Objects of a kind, counted by user and mark."""


@dataclass(frozen=True)
class CardSeen:
    """A card in the upstream state."""

    user: str
    mark: int
    raised: int
    status: str


@dataclass
class Facts:
    """The objects of the users under test."""

    cards: dict[str, CardSeen] = field(default_factory=dict)
    deposits: dict[str, tuple[str, int]] = field(default_factory=dict)
    withdrawals: Marks = field(default_factory=Counter)
    signed: Marks = field(default_factory=Counter)
    """Signed withdrawals, which can move money."""
    approved: set[str] = field(default_factory=set)
    agreed: set[str] = field(default_factory=set)


class PersistentUpstream:
    """A running sandbox with its state in a file."""

    def __init__(self, sandbox: Sandbox, file: Path) -> None:
        self.base_url = sandbox.base_url
        self.partner_key = sandbox.partner_key
        self._control = sandbox.control_url
        self._file = file

    async def control(self, path: str, /, **values: Any) -> bool:
        """Trigger an event. Return False if it does not apply."""
        host, _, root = self._control.removeprefix("http://").partition("/")
        name, _, port = host.partition(":")
        body = json.dumps(values).encode()
        head = (
            f"POST /{root}{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection(name, int(port))
            try:
                writer.write(head.encode() + body)
                status = int((await reader.readline()).split()[1])
                await reader.read(-1)
            finally:
                writer.close()
        if status not in (200, 404):
            raise AssertionError(f"the control API returned {status} for {path}")
        return status == 200

    def facts(self, users: set[str]) -> Facts:
        """Return the objects of these users."""
        found = Facts()
        with closing(sqlite3.connect(self._file, timeout=PATIENCE)) as db:
            for card, user, status, cents in db.execute("SELECT card_id, user_id, status, limit_cents FROM cards"):
                if user in users:
                    found.cards[card] = CardSeen(user, cents // STEP, cents % STEP, status)
            for deposit, user, cents in db.execute(
                "SELECT deposit_id, deposits.user_id, amount_cents FROM deposits JOIN entries USING (entry_id)"
            ):
                if user in users:
                    found.deposits[deposit] = (user, cents)
            for user, cents, answer in db.execute("SELECT user_id, amount_cents, answer FROM withdrawals"):
                if user in users:
                    found.withdrawals[user, cents] += 1
                    found.signed[user, cents] += answer is not None
            for user, status, agreed in db.execute("SELECT user_id, kyc_status, agreements_at FROM users"):
                if user in users and status == "approved":
                    found.approved.add(user)
                if user in users and agreed is not None:
                    found.agreed.add(user)
        return found

    def numbers(self, card_ids: set[str]) -> list[tuple[str, str]]:
        """Return number and CVC of these cards, decrypted with the sandbox's key."""
        state = State.open(self._file)
        with closing(state.db):
            rows = state.rows("SELECT card_id, number_and_cvc FROM cards")
            opened = [
                state.unseal(row["number_and_cvc"], SEALED_AS).split() for row in rows if row["card_id"] in card_ids
            ]
        return [(number, cvc) for number, cvc in opened]


@contextmanager
def upstream(folder: Path) -> Iterator[PersistentUpstream]:
    """Run a sandbox with its state in `folder` until the block ends."""
    file = folder / "sandbox.db"
    with running("--db", str(file)) as sandbox:
        yield PersistentUpstream(sandbox, file)
