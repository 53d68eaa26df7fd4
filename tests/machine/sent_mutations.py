"""Check the state folder as each mutation leaves a process, before it has any effect."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.machine.state_rows import Group, approvals, reading
from tests.machine.upstream import VirtualRequest, card_terms, deposit_terms, pay_terms

_PENDING = "SELECT approval_id, idempotency_key FROM mutations WHERE state = 'pending'"


class SentMutations:
    """Checks the state folder when a mutation leaves. `wrong` lists the violations."""

    def __init__(self, path: Path, label: Callable[[dict[str, Any] | None], str | None]) -> None:
        self._path = path
        self._label = label
        self.wrong: list[str] = []
        self.deposits: set[str] = set()

    def note(self, asked: VirtualRequest) -> None:
        """Check a mutation that is leaving now."""
        if asked.path == "/deposits":
            self._deposit(asked)
            return
        with reading(self._path) as db:
            taken = [row for row in approvals(db) if row.state == "executing"]
            told = {row[0] for row in db.execute("SELECT approval_id FROM audit WHERE verdict = 'executing'")}
            journaled = {tuple(row) for row in db.execute(_PENDING)}
        group = self.group(asked)
        mine = [row for row in taken if row.group == group]
        if asked.method == "POST":
            mine = [row for row in mine if asked.key == f"machines-{row.id}"]
        if not mine:
            self.wrong.append(f"{asked.method} {asked.path} was sent without a consumed approval, or with another key")
        elif not any(row.id in told for row in mine):
            self.wrong.append(f"{asked.method} {asked.path} was sent before it was audited")
        elif not any((row.id, asked.key) in journaled for row in mine):
            self.wrong.append(f"{asked.method} {asked.path} was sent before it was journaled")

    def group(self, asked: VirtualRequest) -> Group:
        """Return the group it can belong to."""
        card = asked.path.rpartition("/")[2]
        match asked.method, asked.path:
            case "POST", "/cards":
                label = self._label(asked.body.get("encryptedName"))
                return "card", asked.user, card_terms(asked.body.get("limit"), label)
            case "POST", "/withdrawals":
                return "withdrawal", asked.user, pay_terms(asked.body["amountCents"], asked.body["destination"])
            case "PATCH", _:
                return "change", card, json.dumps(asked.body, sort_keys=True)
            case _:
                return "close", card, ""

    def _deposit(self, asked: VirtualRequest) -> None:
        """Check that a deposit, which needs no approval, is in the audit before it leaves."""
        self.deposits.add(f"{asked.key} {deposit_terms(asked.body.get('amount'))}")
        with reading(self._path) as db:
            told = db.execute(
                "SELECT count(*) FROM audit WHERE tool = 'create_deposit' AND verdict = 'executing'"
            ).fetchone()[0]
            journaled = {tuple(row) for row in db.execute(_PENDING)}
        if asked.key is None or len(self.deposits) > told or (None, asked.key) not in journaled:
            self.wrong.append("POST /deposits was sent without a key, or before it was audited and journaled")
