"""Test `machines-mcp state forget`: it erases one user, keeps the audit log verifiable, and touches nobody else."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from contextvars import Context
from pathlib import Path
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result

from machines_mcp.cli.forget import forget_user
from machines_mcp.cli.main import main
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import open_guard
from machines_mcp.storage.audit_record import AuditEntry
from machines_mcp.testing import set_passphrase
from tests.support.in_process import in_process_sandbox
from tests.support.tool_caller import caller
from tests.tools.test_withdrawals import ADDRESS, funded

Run = Callable[..., Result]

GONE, OTHER, LABEL = "user-to-forget", "user-who-stays", "Seaside groceries"
PASSPHRASE = "correct horse battery"
TERMS = {"currency": "rusd", "network": "base", "address": ADDRESS}
TABLES = ("approvals", "quotes", "withdrawals", "mutations", "known_users", "freezes", "audit")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path / "state")}


@pytest.fixture
def run(env: dict[str, str]) -> Run:
    def command(*arguments: str, typed: str = "") -> Result:
        result: Result = Context().run(CliRunner().invoke, main, list(arguments), input=typed, env=dict(env))
        return result

    return command


def database(env: dict[str, str]) -> Path:
    return read_settings(env).state_dir / "state.db"


def change(env: dict[str, str], statement: str, *values: object) -> None:
    with closing(sqlite3.connect(database(env))) as db, db:
        assert db.execute(statement, values).rowcount >= 1


def rows(env: dict[str, str], user_id: str | None) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of a user in every table, or of everybody except `GONE`, with their MACs."""
    where = "user_id = ?" if user_id else "coalesce(user_id, '') NOT IN ('', ?)"
    with closing(sqlite3.connect(database(env))) as db:
        return {
            table: db.execute(f"SELECT * FROM {table} WHERE {where}", (user_id or GONE,)).fetchall()  # noqa: S608
            for table in TABLES
        }


async def _live(env: dict[str, str]) -> None:
    folder = Path(env["MACHINES_STATE_DIR"])
    async with in_process_sandbox() as sandbox:
        for user_id, label in ((GONE, LABEL), (OTHER, "Rent")):
            async with caller(folder, user_id, sandbox=sandbox) as c:
                await funded(c)
                card = await c.call("create_card", label=label)
                reveal = AuditEntry("reveal", tool="reveal_card", sink="none", card_id=card["card_id"], code="verified")
                async with open_guard(read_settings(env)) as guard:
                    await guard.audit.append(reveal)
                quote = await c.call("quote_withdrawal", amount_cents=2_000, **TERMS)
                await c.call("create_withdrawal", quote_id=quote["quote_id"])
                await c.call("get_balances")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two users. Each has a card and a withdrawal, whose signature has expired."""
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path_factory.mktemp("made") / "state")}
    anyio.run(_live, env)
    change(env, "UPDATE withdrawals SET execution = json_set(execution, '$.expires_at', '2026-01-01T00:00:00Z')")
    return Path(env["MACHINES_STATE_DIR"])


@pytest.fixture
def lived(env: dict[str, str], made: Path) -> dict[str, str]:
    """A copy of the folder."""
    shutil.copytree(made, env["MACHINES_STATE_DIR"])
    return env


def test_every_trace_goes_the_audit_verifies_and_others_keep_each_byte(
    run: Run, lived: dict[str, str], tmp_path: Path
) -> None:
    head = tmp_path / "head.json"
    assert run("audit", "verify", "--write-head", str(head)).exit_code == 0
    assert all(rows(lived, GONE)[table] for table in TABLES if table != "freezes")
    cards = {
        row[0]
        for row in _select(
            lived, "SELECT reference FROM mutations WHERE user_id = ? AND operation = 'POST /cards'", GONE
        )
    }
    before, count = rows(lived, OTHER), _select(lived, "SELECT count(*) FROM audit")[0][0]
    assert cards and all(before[table] for table in TABLES if table != "freezes")
    result = run("state", "forget", GONE, "--yes")
    assert result.exit_code == 0, result.output
    assert "Erased: " in result.output and "Intact: " in result.output
    assert all(not found for found in rows(lived, GONE).values())
    assert rows(lived, OTHER) == before
    with closing(sqlite3.connect(database(lived))) as db:
        text = "\n".join(db.iterdump())
    kept = b"".join(path.read_bytes() for path in database(lived).parent.rglob("*") if path.is_file())
    for trace in (GONE, LABEL, *cards):
        assert trace not in text
        assert trace.encode() not in kept
    verified = run("audit", "verify", "--head", str(head))
    assert (verified.exit_code, "under pseudonyms of forgotten users" in verified.output) == (0, True)
    assert _select(lived, "SELECT count(*) FROM audit")[0][0] == count + 1
    pseudonyms = {row[0] for row in _select(lived, "SELECT user_id FROM audit WHERE user_id LIKE 'forgotten-%'")}
    shown = run("audit", "show", "--user", pseudonyms.pop(), "--kind", "decision")
    assert not pseudonyms and "create_card" in shown.output


def _select(env: dict[str, str], query: str, *values: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database(env))) as db:
        return db.execute(query, values).fetchall()


@pytest.mark.parametrize("statement", [
    "UPDATE audit SET user_id = 'someone' WHERE user_id LIKE 'forgotten-%'",
    "UPDATE audit SET code = 'other' WHERE seq = (SELECT min(seq) FROM audit_forgotten)",
    "DELETE FROM audit_forgotten WHERE seq = (SELECT min(seq) FROM audit_forgotten)",
    "UPDATE audit_forgotten SET seal = zeroblob(32)",
    "DELETE FROM audit WHERE seq = (SELECT min(seq) FROM audit_forgotten)",
])  # fmt: skip
def test_nobody_without_the_key_passes_off_a_change_as_forgetting(
    run: Run, lived: dict[str, str], statement: str
) -> None:
    assert run("state", "forget", GONE, "--yes").exit_code == 0
    change(lived, statement)
    verified = run("audit", "verify")
    assert (verified.exit_code, verified.output.startswith("Tampered with")) == (1, True)


def signed(stated: str, judged: str) -> str:
    """Return the statement that sets when a signature expires: what the API states, and what the chain judges by."""
    paths = f"'$.expires_at', {stated}, '$.parameters[4]', {judged}, '$.signature.parameters[4]', {judged}"
    return f"UPDATE withdrawals SET execution = json_set(execution, {paths}) WHERE user_id = ?"  # noqa: S608 - constants


@pytest.mark.parametrize(("statement", "sentence"), [
    ("UPDATE approvals SET state = 'waiting', expires_at = 9e9 WHERE tool = 'create_card' AND user_id = ?", "waits"),
    ("UPDATE approvals SET state = 'granted', expires_at = 9e9 WHERE tool = 'create_card' AND user_id = ?", "approved"),
    ("UPDATE approvals SET state = 'executing' WHERE tool = 'create_card' AND user_id = ?", "unknown"),
    ("UPDATE mutations SET state = 'unknown' WHERE user_id = ?", "unknown"),
    ("UPDATE mutations SET state = 'pending' WHERE user_id = ?", "unknown"),
    ("UPDATE mutations SET state = 'manual' WHERE user_id = ?", "unknown"),
    ("UPDATE withdrawals SET status = 'requested' WHERE user_id = ?", "withdrawal"),
    ("UPDATE withdrawals SET status = 'pending' WHERE user_id = ?", "withdrawal"),
    ("UPDATE withdrawals SET status = 'unknown' WHERE user_id = ?", "withdrawal"),
    (signed("'2199-01-01T00:00:00Z'", "7226582400"), "signature of this user is valid until 2199-01-01"),
    (signed("null", "7226582400"), "signature of this user is valid until 2199-01-01"),
    (signed("'2198-01-01T00:00:00Z'", "'7226582400'"), "signature of this user is valid until 2198-01-01"),
    (signed("null", "null"), "signature of this user is valid until"),
    (signed("null", "9e15"), "signature of this user is valid until"),
    ("UPDATE withdrawals SET execution = '{}' WHERE user_id = ?", "signature"),
    ("UPDATE withdrawals SET execution = '{' WHERE user_id = ?", "signature"),
])  # fmt: skip
def test_what_is_still_needed_is_not_erased(run: Run, lived: dict[str, str], statement: str, sentence: str) -> None:
    change(lived, statement, GONE)
    before = rows(lived, GONE)
    refused = run("state", "forget", GONE, "--yes")
    assert (refused.exit_code, sentence in refused.output) == (1, True), refused.output
    assert refused.output.endswith("Nothing was erased.\n")
    assert rows(lived, GONE) == before
    assert run("state", "forget", OTHER, "--yes").exit_code == 0


@pytest.mark.parametrize(
    ("stated", "judged"), [("null", "1700000000"), ("'2199-01-01T00:00:00Z'", "1700000000"), ("null", "'1700000000'")]
)
def test_a_signature_ends_with_the_first_of_its_expiries(
    run: Run, lived: dict[str, str], stated: str, judged: str
) -> None:
    change(lived, signed(stated, judged), GONE)
    assert run("state", "forget", GONE, "--yes").exit_code == 0


def test_a_program_must_say_yes_and_a_person_types_the_id(
    run: Run, lived: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(lived, GONE)
    assert (run("state", "forget", GONE).exit_code, rows(lived, GONE)) == (2, before)
    monkeypatch.setattr("machines_mcp.cli.prompt.TerminalInput.at_terminal", True)
    assert (run("state", "forget", GONE, typed=f"{OTHER}\n").exit_code, rows(lived, GONE)) == (2, before)
    assert run("state", "forget", GONE, typed=f"{GONE}\n").exit_code == 0
    assert not rows(lived, GONE)["approvals"]


@pytest.mark.parametrize("user_id", ["", "no-such-user", "\udcff", "a\nb"])
def test_a_user_without_a_row_changes_nothing(run: Run, lived: dict[str, str], user_id: str) -> None:
    before = rows(lived, None)
    assert run("state", "forget", user_id, "--yes").exit_code in (1, 2)
    assert rows(lived, None) == before
    assert run("audit", "verify").exit_code == 0


def test_a_tampered_audit_log_keeps_the_user(run: Run, lived: dict[str, str]) -> None:
    change(lived, "DELETE FROM audit WHERE seq = 3")
    refused = run("state", "forget", GONE, "--yes")
    assert (refused.exit_code, refused.output.startswith("Nothing was erased. Tampered with")) == (1, True)
    assert rows(lived, GONE)["approvals"]


def test_the_passphrase_is_needed_where_approvals_need_one(run: Run, env: dict[str, str], tmp_path: Path) -> None:
    env |= {"MACHINES_ENV": "sandbox", "MACHINES_PARTNER_KEY": "mk-0123456789", "MACHINES_USER_ID": GONE}
    frozen = run("freeze", "--user", GONE)
    assert frozen.exit_code == 0, frozen.output
    assert "No passphrase is set" in run("state", "forget", GONE, "--yes").output
    anyio.run(set_passphrase, env, PASSPHRASE)
    assert run("state", "forget", GONE, "--yes").exit_code == 2
    wrong = run("state", "forget", GONE, "--yes", typed="wrong wrong wrong\n")
    assert (wrong.exit_code, "Wrong passphrase" in wrong.output) == (1, True)
    assert rows(env, GONE)["freezes"]


def test_the_days_limits_still_count_what_was_forgotten(lived: dict[str, str]) -> None:
    query = "SELECT sum(amount_cents), count(*) FROM approvals WHERE started_at > 0 AND amount_cents > 0"
    before = _select(lived, query)

    async def forgotten(later: float) -> bool:
        ok, _ = await forget_user(read_settings(lived), GONE, lambda: Secret(""), clock=lambda: time.time() + later)
        return ok

    assert anyio.run(forgotten, 0.0)
    assert _select(lived, query) == before
    assert _select(lived, "SELECT DISTINCT question, digest, card_id FROM approvals WHERE user_id = ''") == [
        ("", "", None)
    ]


def test_a_forgotten_row_can_be_pruned_and_a_user_forgotten_twice(run: Run, lived: dict[str, str]) -> None:
    assert run("state", "forget", GONE, "--yes").exit_code == 0
    assert run("state", "forget", OTHER, "--yes").exit_code == 0
    assert run("state", "forget", GONE, "--yes").exit_code == 1
    from tests.cli.test_prune import later

    assert later(lived, 91).deleted["audit rows of reads"] > 0
    assert run("audit", "verify").exit_code == 0
    left = _select(lived, "SELECT count(*) FROM audit_forgotten WHERE seq NOT IN (SELECT seq FROM audit)")
    assert left == [(0,)]
