"""Test `doctor --resolve`: what a person is asked about unresolved calls, and the effect of each answer."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner

from machines_mcp.cli import resolve
from machines_mcp.cli.doctor.state import check_safeguards
from machines_mcp.cli.main import main
from machines_mcp.cli.unresolved import unresolved_calls
from machines_mcp.partner.mutation_log import Mutation
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest, Detail
from machines_mcp.permissions.factory import Guard
from machines_mcp.protocol.reconciliation import Reconciler
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.app import opened
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import open_guard
from machines_mcp.storage.audit_log import AuditLog
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.journal import CallContext, Journal
from machines_mcp.storage.principal import ANY_USER
from machines_mcp.storage.withdrawals import Destination, Withdrawals
from tests.support.in_process import used_by_all
from tests.support.interrupted import lose_response, short_reconciliation_wait, unresolved_call
from tests.support.tool_caller import ToolCaller, caller
from tests.support.waiting import PATIENCE
from tests.tools.test_reconcile_cards import cards, create_foreign_card

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures(short_reconciliation_wait.__name__)]

PASSPHRASE = "correct horse battery"
ADDRESS = "0x" + "ab" * 20
HASH = "0x" + "5e" * 32
TERMS = {
    "amount_cents": 500,
    "currency": "usdc",
    "network": "base",
    "address": ADDRESS,
    "extra_id": None,
    "admin_address": None,
    "source_chain_id": None,
    "source_token_address": None,
    "estimated_to_amount": None,
}
DETAILS = ApprovalDetails(
    question="Withdraw $5.00 to this address?",
    items=(Detail("Amount", "$5.00"), Detail("Address", ADDRESS, "the first withdrawal to this destination")),
    amount_cents=500,
    destination=Destination("usdc", "base", ADDRESS),
)


@dataclass
class Typist:
    """Types these answers and passphrases, and records everything shown."""

    types: list[str]
    passphrases: list[str] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)

    def read_answer(self, question: str) -> str:
        self.reads.append(question)
        return self.types.pop(0)

    def read_secret(self, what: str) -> Secret:
        self.reads.append(what)
        return Secret(self.passphrases.pop(0))

    @property
    def read(self) -> str:
        return "\n".join(self.reads)


async def resolve_calls(env: dict[str, str], person: Typist) -> resolve.ResolveResult:
    with anyio.fail_after(PATIENCE):
        found = await resolve.resolve(read_settings(env), person, person.reads.append)
    assert not person.types and not person.passphrases
    return found


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Settings of a server that requires a passphrase and cannot reach Machines."""
    return {
        "MACHINES_ENV": "sandbox",
        "MACHINES_PARTNER_KEY": "mk-0123456789",
        "MACHINES_API_URL": "http://127.0.0.1:9/partner/v1",
        "MACHINES_USER_ID": "user-1",
        "MACHINES_STATE_DIR": str(tmp_path / "state"),
    }


def embedded(folder: Path) -> dict[str, str]:
    return {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder)}


@asynccontextmanager
async def guard_of(env: dict[str, str]) -> AsyncIterator[Guard]:
    async with open_guard(read_settings(env)) as guard:
        yield guard


async def interrupted_withdrawal(env: dict[str, str], digest: str = "d1") -> Approval:
    """Create a withdrawal sent by a dead process, with an unknown result."""
    async with guard_of(env) as guard:
        if not await guard.passphrase.is_set():
            await guard.passphrase.set(Secret(PASSPHRASE))
        approval = await guard.approvals.open_granted(
            CallRequest("create_withdrawal", ActionClass.MONEY, "user-1", digest, "agent 1.0"), DETAILS, "operator"
        )
        rows = Withdrawals(guard.store)
        about = CallContext(approval.id, "create_withdrawal", "user-1")
        assert await rows.begin(await rows.quote("user-1", TERMS), approval.id) is not None
        key = approval.idempotency_key
        entry = await guard.journal.begin(Mutation("user-1", "POST /withdrawals", key, b"{}", False, {}), about)
        await guard.journal.end(entry, "unknown")
        await guard.approvals.executions.release(approval.id)
    return approval


async def state_of(
    env: dict[str, str], approval_id: str
) -> tuple[str, dict[str, Any] | None, str, list[tuple[Any, ...]]]:
    """Return the approval's state and outcome, the withdrawal's status, and the journal entries."""
    async with guard_of(env) as guard:
        approval, begun = (
            await guard.approvals.get(approval_id),
            await Withdrawals(guard.store).for_approval(approval_id),
        )
        assert approval is not None and begun is not None
        entries = [
            (each.state, each.reference, each.settled_by) for each in await guard.journal.for_approval(approval_id)
        ]
        return approval.state, json.loads(approval.outcome or "null"), begun.status, entries


async def decisions(env: dict[str, str]) -> list[tuple[Any, ...]]:
    async with guard_of(env) as guard:
        rows = await guard.audit.rows(ANY_USER, kind="decision")
        return [(row.verdict, row.by, row.approval_id, row.amount_cents) for row in rows if row.code == "resolved"]


async def test_all_details_are_shown_and_later_changes_nothing(env: dict[str, str]) -> None:
    approval, person = await interrupted_withdrawal(env), Typist(["later"])
    found = await resolve_calls(env, person)
    assert (found.ok, found.message) == (True, "0 of 1 resolved.")
    for shown in (
        approval.id,
        "$5.00",
        ADDRESS,
        "usdc on base",
        "agent 1.0",
        approval.idempotency_key,
        "POST /withdrawals",
    ):
        assert shown in person.read
    assert "response was lost" in person.read
    state, outcome, withdrawal, entries = await state_of(env, approval.id)
    assert (state, outcome, withdrawal, entries) == ("executing", None, "unknown", [("manual", None, None)])
    assert await decisions(env) == []


async def test_yes_sets_the_outcome_and_is_journaled_and_audited(env: dict[str, str]) -> None:
    approval, person = await interrupted_withdrawal(env), Typist(["yes", HASH], [PASSPHRASE])
    assert (await resolve_calls(env, person)).message == "1 of 1 resolved."
    state, outcome, withdrawal, entries = await state_of(env, approval.id)
    assert (state, withdrawal, entries) == ("done", "confirmed", [("done", HASH, "terminal")])
    assert outcome is not None
    assert (outcome["status"], outcome["amount_cents"]) == ("confirmed", 500)
    assert await decisions(env) == [("happened", "terminal", approval.id, 500)]
    assert (await resolve_calls(env, Typist([]))).message == resolve.NOTHING


async def test_no_rejects_the_withdrawal_and_its_quote_is_not_reused(env: dict[str, str]) -> None:
    approval, person = await interrupted_withdrawal(env), Typist(["no"], [PASSPHRASE])
    assert (await resolve_calls(env, person)).message == "1 of 1 resolved."
    state, _, withdrawal, entries = await state_of(env, approval.id)
    # The approval is under five minutes old, so the call may reuse it and finds the quote used.
    assert (state, withdrawal, entries) == ("granted", "rejected", [("rejected", None, "terminal")])
    assert await decisions(env) == [("not_happened", "terminal", approval.id, 500)]


async def answered_only_in_the_journal(env: dict[str, str]) -> Approval:
    """Create a withdrawal whose server died after the journal recorded its response, but before its own row did."""
    approval = await interrupted_withdrawal(env)
    async with guard_of(env) as guard:
        await guard.store.run(lambda db: db.execute("UPDATE mutations SET state = 'done', status = 200"))
    return approval


@pytest.mark.parametrize(
    ("typed", "withdrawal", "entry"),
    [(["yes", HASH], "confirmed", ("done", HASH, "terminal")), (["no"], "rejected", ("rejected", None, "terminal"))],
)
async def test_a_response_known_only_to_the_journal_is_asked_about(
    env: dict[str, str], typed: list[str], withdrawal: str, entry: tuple[str | None, ...]
) -> None:
    approval = await answered_only_in_the_journal(env)
    async with guard_of(env) as guard:
        assert [
            (unresolved.approval and unresolved.approval.id) for unresolved in (await unresolved_calls(guard)).calls
        ] == [approval.id]
    person = Typist(typed, [PASSPHRASE])
    assert (await resolve_calls(env, person)).message == "1 of 1 resolved."
    assert ADDRESS in person.read
    _, _, status, entries = await state_of(env, approval.id)
    assert (status, entries) == (withdrawal, [entry])


@pytest.mark.parametrize("at", ["append_in", "record_in", "resolve_in"])
async def test_an_answer_is_stored_atomically(env: dict[str, str], at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    approval = await interrupted_withdrawal(env)

    def fails(*_: object) -> None:
        raise sqlite3.OperationalError

    class PersonWithFailingStore(Typist):
        def read_secret(self, what: str) -> Secret:
            for part in (AuditLog, Withdrawals, Journal):
                if hasattr(part, at):
                    monkeypatch.setattr(part, at, fails)
            return super().read_secret(what)

    with pytest.raises(StoreUnavailable):
        await resolve_calls(env, PersonWithFailingStore(["yes", HASH], [PASSPHRASE]))
    monkeypatch.undo()
    assert await state_of(env, approval.id) == ("executing", None, "unknown", [("manual", None, None)])
    assert await decisions(env) == []
    assert (await resolve_calls(env, Typist(["no"], [PASSPHRASE]))).message == "1 of 1 resolved."


async def test_an_answer_given_before_a_crash_is_not_asked_again(
    env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    approval = await interrupted_withdrawal(env)

    async def dies(self: Reconciler, approval: Approval) -> None:
        if (await self._guard.journal.for_approval(approval.id))[0].settled_by is not None:
            raise KeyboardInterrupt
        return await settle(self, approval)

    settle: Any = Reconciler.reconcile
    monkeypatch.setattr(Reconciler, "reconcile", dies)
    with pytest.raises(KeyboardInterrupt):
        await resolve_calls(env, Typist(["yes", HASH], [PASSPHRASE]))
    monkeypatch.undo()
    assert (await state_of(env, approval.id))[0] == "executing"
    person = Typist([])
    assert (await resolve_calls(env, person)).message == resolve.NOTHING
    assert "resolved by asking Machines" in person.read
    state, outcome, withdrawal, _ = await state_of(env, approval.id)
    assert (state, (outcome or {})["status"], withdrawal) == ("done", "confirmed", "confirmed")
    assert len(await decisions(env)) == 1


@pytest.mark.parametrize(
    ("typed", "says"), [("not this one", "Wrong passphrase."), (PASSPHRASE.upper(), "Wrong passphrase.")]
)
async def test_a_wrong_passphrase_resolves_nothing(env: dict[str, str], typed: str, says: str) -> None:
    approval = await interrupted_withdrawal(env)
    found = await resolve_calls(env, Typist(["no"], [typed]))
    assert not found.ok
    assert says in found.message
    assert (await state_of(env, approval.id))[0] == "executing"
    assert await decisions(env) == []


@pytest.mark.parametrize(
    "reference", ["", "abc", "4111 1111", "4111-1111-1111-1111", "1234567890", "x y z w", "a" * 129]
)
async def test_an_invalid_reference_is_not_stored(env: dict[str, str], reference: str) -> None:
    approval = await interrupted_withdrawal(env)
    person = Typist(["yes", reference])
    await resolve_calls(env, person)
    assert "That is not an id" in person.read
    assert (await state_of(env, approval.id))[0] == "executing"


async def test_each_call_is_asked_about_and_unclear_answers_repeat(env: dict[str, str]) -> None:
    first, second = await interrupted_withdrawal(env, "d1"), await interrupted_withdrawal(env, "d2")
    person = Typist(["what?", "no", "perhaps", "maybe", "dunno"], [PASSPHRASE])
    assert (await resolve_calls(env, person)).message == "1 of 2 resolved."
    assert (await state_of(env, first.id))[2] == "rejected"
    assert (await state_of(env, second.id))[2] == "unknown"


async def test_a_call_from_before_the_journal_ends_as_the_person_says(env: dict[str, str]) -> None:
    ids = [(await interrupted_withdrawal(env, digest)).id for digest in ("d1", "d2")]
    async with guard_of(env) as guard:
        await guard.store.run(lambda db: db.execute("UPDATE approvals SET owner = NULL, started_at = started_at - 120"))
        await guard.store.run(lambda db: db.execute("DELETE FROM mutations"))
        await guard.store.run(lambda db: db.execute("UPDATE withdrawals SET approval_id = NULL, status = 'ready'"))
    person = Typist(["yes", HASH, "no"], [PASSPHRASE, PASSPHRASE])
    assert (await resolve_calls(env, person)).message == "2 of 2 resolved."
    assert "before the journal existed" in person.read
    async with guard_of(env) as guard:
        found = [await guard.approvals.get(each) for each in ids]
    assert [(each.state, json.loads(each.outcome or "{}")["code"]) for each in found if each is not None] == [
        ("failed", "outcome.unknown"),
        ("failed", "approval.expired"),
    ]


async def test_a_withdrawal_of_an_ended_call_is_asked_about(env: dict[str, str]) -> None:
    approval = await interrupted_withdrawal(env)
    async with guard_of(env) as guard:
        await guard.approvals.finish(approval.id, '{"code": "outcome.unknown"}', ok=False, code="outcome.unknown")
    person = Typist(["yes", HASH], [PASSPHRASE])
    assert (await resolve_calls(env, person)).message == "1 of 1 resolved."
    assert f"to {ADDRESS}" in person.read
    assert (await state_of(env, approval.id))[2] == "confirmed"


@asynccontextmanager
async def two_cards(folder: Path) -> AsyncIterator[tuple[ToolCaller, str, dict[str, Any]]]:
    """Create a card whose response was lost, and another that matches it."""
    card = {"limit_amount_cents": 700, "limit_frequency": "allTime"}
    async with caller(folder) as c:
        await c.approved()
        await lose_response(c, "/cards", done=True)
        approval = await unresolved_call(c, "create_card", **card)
        await create_foreign_card(c, 700)
        assert "doctor --resolve" in (await c.call("create_card", **card, approval_id=approval))["message"]
        with used_by_all(c.sandbox):
            yield c, approval, card


async def test_the_card_named_by_the_person_is_the_outcome(tmp_path: Path) -> None:
    async with two_cards(tmp_path) as (c, approval, card):
        chosen = (await cards(c))[1]["card_id"]
        person = Typist(["yes", chosen])
        assert (await resolve_calls(embedded(tmp_path), person)).message == "1 of 1 resolved."
        assert "More than one card" in person.read
        found = await c.call("create_card", **card, approval_id=approval)
        assert found["card_id"] == chosen
        assert len(await cards(c)) == 2


async def test_an_unknown_card_or_one_of_another_call_is_refused(tmp_path: Path) -> None:
    async with two_cards(tmp_path) as (c, approval, card):
        other = (await c.call("create_card"))["card_id"]
        for reference, says in (("no-such-card", "no such card"), (other, "Another call created that card")):
            person = Typist(["yes", reference])
            assert (await resolve_calls(embedded(tmp_path), person)).message == "0 of 1 resolved."
            assert says in person.read
        assert (await c.call("create_card", **card, approval_id=approval))["code"] == "outcome.unknown"


async def test_a_card_not_yet_created_is_created_on_the_same_approval(tmp_path: Path) -> None:
    async with two_cards(tmp_path) as (c, approval, card):
        assert (await resolve_calls(embedded(tmp_path), Typist(["no"]))).message == "1 of 1 resolved."
        await c.control("/keys", honoured=False)
        made = await c.call("create_card", **card, approval_id=approval)
        assert len(await cards(c)) == 3
        assert made["card_id"] == (await cards(c))[0]["card_id"]


async def test_a_call_that_machines_can_resolve_is_not_asked_about(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.approved()
        await lose_response(c, "/cards", done=True)
        approval = await unresolved_call(c, "create_card", label="Groceries")
        person = Typist([])
        with used_by_all(c.sandbox):
            assert (await resolve_calls(embedded(tmp_path), person)).message == resolve.NOTHING
        assert "resolved by asking Machines" in person.read
        assert (await c.call("create_card", label="Groceries", approval_id=approval))["label"] == "Groceries"


async def test_the_doctor_explains_each_call_and_fails_if_a_person_must_act(env: dict[str, str]) -> None:
    approval = await interrupted_withdrawal(env)

    async def row() -> tuple[bool, str]:
        async with opened(read_settings(env)) as app:
            (finding,) = [each for each in await check_safeguards(app) if each.check == "unresolved"]
            return finding.ok, finding.message

    ok, says = await row()
    assert ok
    assert f"create_withdrawal {approval.id} for user-1, since 20" in says
    assert "was interrupted" in says
    await resolve_calls(env, Typist(["later"]))
    ok, says = await row()
    assert not ok
    assert "response was lost" in says
    assert says.endswith("Check at Machines, then run machines-mcp doctor --resolve.")
    await resolve_calls(env, Typist(["no"], [PASSPHRASE]))
    assert await row() == (True, "no unresolved calls")


def test_resolve_without_a_terminal_is_refused_in_one_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["doctor", "--resolve"], input="yes\n", env=embedded(tmp_path))
    assert (result.exit_code, result.stderr) == (2, resolve.NO_TERMINAL + "\n")
    assert not (tmp_path / "embedded").exists()


@pytest.mark.skipif(os.name != "posix", reason="needs a terminal of its own")
@pytest.mark.check
async def test_resolve_at_a_terminal_asks_and_stores_the_answer(env: dict[str, str], tmp_path: Path) -> None:
    approval = await interrupted_withdrawal(env)
    said = await anyio.to_thread.run_sync(_run_at_terminal, env, ["no", PASSPHRASE])
    assert "1 of 1 resolved." in said
    assert PASSPHRASE not in said
    assert (await state_of(env, approval.id))[2] == "rejected"


def _run_at_terminal(env: dict[str, str], lines: list[str]) -> str:
    """Type each line after the next question at a terminal, and return the output."""
    import pty
    import select
    import time

    own, its = pty.openpty()
    command = [sys.executable, "-m", "machines_mcp", "doctor", "--resolve"]
    base = {name: value for name, value in os.environ.items() if not name.startswith("MACHINES_")}
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=base | env, start_new_session=True)
    os.close(its)
    said, rest, until = b"", list(lines), time.monotonic() + PATIENCE
    try:
        while time.monotonic() < until:
            if not select.select([own], [], [], 1.0)[0]:
                continue
            try:
                piece = os.read(own, 4096)
            except OSError:
                break
            said += piece
            if rest and said.endswith(b": "):
                os.write(own, rest.pop(0).encode() + b"\n")
        assert process.wait(PATIENCE) == 0, said
    finally:
        process.kill()
        process.wait()
        os.close(own)
    return said.decode()
