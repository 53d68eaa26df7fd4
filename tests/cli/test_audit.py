"""Test `audit show` and `audit verify`: output and exit codes (0 intact, 1 tampered, 2 unknown)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from contextvars import Context
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from machines_mcp.cli.audit import format_table, since_time
from machines_mcp.cli.main import main
from machines_mcp.redaction.display import moment
from machines_mcp.storage.audit_log import AuditEntry, AuditLog, AuditRow, Checkpoint
from machines_mcp.storage.database import Store
from machines_mcp.storage.state_keys import state_key
from tests.support.clock import Clock

Run = Callable[..., Result]

ENTRIES = (
    AuditEntry("call", tool="get_balances", action_class="read", user_id="user-1", code="ok"),
    AuditEntry("decision", tool="create_card", action_class="money", user_id="user-1", verdict="granted", by="dialog"),
    AuditEntry("outcome", tool="create_card", action_class="money", user_id="user-2", code="ok", amount_cents=5000),
    AuditEntry("alarm", code="output_filter.exact"),
)


@pytest.fixture
def run(tmp_path: Path) -> Run:

    def command(*arguments: str) -> Result:
        env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path / "state")}
        return Context().run(CliRunner().invoke, main, ["audit", *arguments], env=env)

    return command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state folder with four audit rows, two seconds apart."""
    found = tmp_path / "state" / "embedded"

    async def write() -> None:
        store, clock = Store(found), Clock()
        audit = AuditLog(store, state_key(found, "audit"), "policy-1", clock=clock)
        for entry in ENTRIES:
            await audit.append(entry)
            clock.advance(2)
        await store.close()

    anyio.run(write)
    return found


def tamper(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "state.db")) as db, db:
        db.execute(statement)


def error_line(result: Result) -> str:
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


def test_rows_are_shown_aligned_without_empty_columns(run: Run, folder: Path) -> None:
    assert run("show").stdout.splitlines() == [
        "row  time (UTC)           kind      tool          class  verdict  code                 by      user    amount",
        "  1  2027-01-15 08:00:00  call      get_balances  read            ok                           user-1",
        "  2  2027-01-15 08:00:02  decision  create_card   money  granted                       dialog  user-1",
        "  3  2027-01-15 08:00:04  outcome   create_card   money           ok                           user-2  $50.00",
        "  4  2027-01-15 08:00:06  alarm                                   output_filter.exact",
    ]


def test_rows_that_are_too_wide_are_shown_whole_on_lines_of_their_own(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("machines_mcp.cli.screen.screen_width", lambda *_: 80)
    monkeypatch.setattr("machines_mcp.cli.audit.screen_width", lambda: 80)
    assert run("show").stdout.splitlines() == [
        "2027-01-15 (UTC)",
        "  1  08:00:00  call  get_balances  ok",
        "      class read, user user-1",
        "  2  08:00:02  decision  create_card  granted",
        "      class money, by dialog, user user-1",
        "  3  08:00:04  outcome  create_card  ok",
        "      class money, user user-2, amount $50.00",
        "  4  08:00:06  alarm  output_filter.exact",
    ]


@given(width=st.integers(40, 120), count=st.integers(1, 4), data=st.data())
def test_every_value_of_a_row_is_shown_at_any_width(width: int, count: int, data: st.DataObject) -> None:
    cell = st.text("abc_", min_size=1, max_size=20)
    ids = [data.draw(cell) for _ in range(7)]
    tool, verdict, code, by, user, card, sink = ids
    row = AuditRow(1, 1e9, "approval_request", tool, "money", user, "ab" * 16, verdict, code, by, sink, card, 500, "p")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("machines_mcp.cli.screen.screen_width", lambda *_: width)
        patch.setattr("machines_mcp.cli.audit.screen_width", lambda: width)
        shown = format_table([row] * count)
    assert all(shown.count(value) >= count for value in (*ids, "$5.00", "approval_request", "01:46:40", "abababab"))
    assert max(map(len, shown.splitlines())) <= width


def test_an_empty_audit_is_reported(run: Run) -> None:
    assert run("show").stdout == "No rows.\n"
    assert run("show", "--json").stdout == "[]\n"


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ((), [1, 2, 3, 4]),
        (("--limit", "2"), [3, 4]),
        (("--tool", "create_card"), [2, 3]),
        (("--kind", "alarm"), [4]),
        (("--user", "user-1"), [1, 2]),
        (("--since", "2027-01-15T08:00:04"), [3, 4]),
        (("--since", "2027-01-15T09:00:04+01:00"), [3, 4]),
        (("--since", "2027-01-16"), []),
        (("--tool", "create_card", "--user", "user-1"), [2]),
    ],
)
def test_rows_are_filtered_with_the_newest_last(run: Run, folder: Path, wanted: tuple[str], numbers: list[int]) -> None:
    rows = json.loads(run("show", "--json", *wanted).stdout)
    assert [row["seq"] for row in rows] == numbers


@pytest.mark.parametrize("since", ["yesterday", "", "-5", "2027-13-01", "99999999999", "٣"])
def test_an_invalid_time_is_reported_in_one_sentence(run: Run, since: str) -> None:
    assert "--since must be" in error_line(run("show", f"--since={since}"))


def test_a_number_of_seconds_counts_back_from_now() -> None:
    assert since_time("3600", 10_000.0) == 6400.0
    assert since_time("1970-01-01", 10_000.0) == 0.0


def test_control_characters_in_a_row_are_not_printed(run: Run, folder: Path) -> None:
    tamper(folder, "UPDATE audit SET tool = char(27) || '[2J' || char(10) || char(8238) || 'x', at = 1e300")
    shown = run("show").stdout
    assert "\ufffd[2J\ufffd\ufffdx" in shown
    assert len(shown.splitlines()) == 5
    assert moment(1e300) == "?"


def test_an_intact_chain_exits_with_0(run: Run, folder: Path) -> None:
    result = run("verify")
    assert result.exit_code == 0
    assert result.stdout == (
        "Intact: 4 rows, the newest from 2027-01-15 08:00:06 UTC. Without a checkpoint (--write-head), deleting the"
        " newest rows goes unnoticed.\n"
    )


def test_an_audit_without_rows_is_intact(run: Run) -> None:
    assert run("verify").exit_code == 0


@pytest.mark.parametrize(
    ("statement", "where"),
    [
        ("UPDATE audit SET amount_cents = 1 WHERE seq = 3", "row 3 was changed, swapped or inserted"),
        ("DELETE FROM audit WHERE seq = 2", "rows are missing, starting at row 2"),
        ("DELETE FROM audit WHERE seq = 1", "rows are missing, starting at row 1"),
        ("UPDATE audit SET seq = 9 WHERE seq = 4", "rows are missing, starting at row 4"),
        ("DROP TABLE audit", "the audit table is missing"),
    ],
)
def test_tampering_exits_with_1_and_names_the_row(
    run: Run, folder: Path, tmp_path: Path, statement: str, where: str
) -> None:
    tamper(folder, statement)
    result = run("verify", "--write-head", str(tmp_path / "head"))
    assert result.exit_code == 1
    assert where in result.stdout
    assert not (tmp_path / "head").exists()


def test_several_tampered_rows_are_counted(run: Run, folder: Path) -> None:
    tamper(folder, "UPDATE audit SET code = 'x' WHERE seq IN (1, 3)")
    assert "row 1 was changed, swapped or inserted, and 1 more" in run("verify").stdout


def test_a_checkpoint_reveals_truncation(run: Run, folder: Path, tmp_path: Path) -> None:
    head = tmp_path / "head.json"
    assert run("verify", "--write-head", str(head)).exit_code == 0
    assert Checkpoint.read(head).seq == 4
    assert "The checkpoint at row 4 matches" in run("verify", "--head", str(head)).stdout
    tamper(folder, "DELETE FROM audit WHERE seq > 2")
    assert run("verify").exit_code == 0
    result = run("verify", "--head", str(head))
    assert result.exit_code == 1
    assert "the checkpoint names row 4, which is missing or different" in result.stdout


def test_a_checkpoint_reveals_a_replaced_database(run: Run, folder: Path, tmp_path: Path) -> None:
    head = tmp_path / "head.json"
    assert run("verify", "--write-head", str(head)).exit_code == 0
    for file in folder.glob("state.db*"):
        file.unlink()
    assert run("verify", "--head", str(head)).exit_code == 1


def test_a_missing_or_invalid_checkpoint_exits_with_2(run: Run, folder: Path, tmp_path: Path) -> None:
    assert "The checkpoint is missing" in error_line(run("verify", "--head", str(tmp_path / "head")))
    assert "The checkpoint can't be read or is invalid" in error_line(run("verify", "--head", str(tmp_path)))
    (tmp_path / "head").write_text("{}", encoding="ascii")
    assert "The checkpoint can't be read or is invalid" in error_line(run("verify", "--head", str(tmp_path / "head")))
    assert "The checkpoint can't be written" in error_line(run("verify", "--write-head", str(tmp_path / "no" / "head")))


def test_a_missing_audit_key_exits_with_2_and_is_not_recreated(run: Run, folder: Path) -> None:
    key = folder / "keys" / "audit.key"
    key.unlink()
    assert "The audit key is missing" in error_line(run("verify"))
    assert not key.exists()


def test_an_unusable_state_folder_exits_with_2(run: Run, folder: Path) -> None:
    (folder / "state.db").write_bytes(b"no database" * 1000)
    assert "The state folder can't be used" in error_line(run("verify"))
    assert "The state folder can't be used" in error_line(run("show"))
