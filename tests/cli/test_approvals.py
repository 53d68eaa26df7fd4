"""Test `approve` and `deny`: output, prompts and exit codes (0 decided, 1 not decided, 2 not attempted)."""

from __future__ import annotations

import io
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from contextvars import Context
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import anyio
import pytest
from click.testing import CliRunner, Result

from machines_mcp import testing
from machines_mcp.cli.approvals import format_approval, format_waiting, waiting_approvals, watch_waiting
from machines_mcp.cli.main import main
from machines_mcp.desk.approval_view import TOOL_WORDS
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails, CallRequest, Detail
from machines_mcp.redaction.characters import printable
from machines_mcp.server.settings import Settings
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import open_guard
from machines_mcp.storage.audit_log import AuditRow
from machines_mcp.storage.principal import ANY_USER
from machines_mcp.storage.withdrawals import Destination
from tests.support.waiting import PATIENCE
from tests.support.wrong_tries import end_delays, type_wrong

PASSPHRASE = "correct horse battery"
ADDRESS = "0x" + "ab" * 20
DETAILS = ApprovalDetails(
    question="Withdraw $5.00 to this address?",
    items=(Detail("User", "user-1"), Detail("Address", ADDRESS, "the first withdrawal to this destination")),
    amount_cents=500,
    destination=Destination("USDC", "base", ADDRESS),
)

Run = Callable[..., Result]


@pytest.fixture
def run(env: dict[str, str]) -> Run:

    def command(*arguments: str, typed: str = "", **settings: str | None) -> Result:
        return Context().run(CliRunner().invoke, main, list(arguments), input=typed, env=env | settings)

    return command


def ask(
    env: dict[str, str],
    details: ApprovalDetails = DETAILS,
    digest: str = "d1",
    asked_by: str = "agent 1.0",
    *,
    withdraw: bool = False,
) -> str:
    """Open a waiting approval, withdraw it if asked to, and return its id."""

    async def opened() -> str:
        async with open_guard(read_settings(env)) as guard:
            call_request = CallRequest("create_withdrawal", ActionClass.MONEY, "user-1", digest, asked_by)
            approval_id = (await guard.approvals.open(call_request, details)).id
            if withdraw:
                await guard.approvals.refusals.withdraw(approval_id)
            return approval_id

    return anyio.run(opened)


def stored_approval(env: dict[str, str], approval_id: str) -> Approval:
    async def found() -> Approval | None:
        async with open_guard(read_settings(env)) as guard:
            return await guard.approvals.get(approval_id)

    approval = anyio.run(found)
    assert approval is not None
    return approval


def audit(env: dict[str, str], kind: str) -> list[AuditRow]:
    async def read() -> list[AuditRow]:
        async with open_guard(read_settings(env)) as guard:
            return await guard.audit.rows(ANY_USER, kind=kind)

    return anyio.run(read)


def set_passphrase(env: dict[str, str]) -> None:
    anyio.run(testing.set_passphrase, env, PASSPHRASE)


def refused(result: Result) -> str:
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("command", "state", "says"), [("approve", "granted", "Approved."), ("deny", "refused", "Refused.")]
)
def test_the_right_passphrase_decides_an_approval(
    run: Run, env: dict[str, str], command: str, state: str, says: str
) -> None:
    set_passphrase(env)
    approval_id = ask(env)
    result = run(command, approval_id, typed=PASSPHRASE + "\n")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].startswith(says)
    assert (stored_approval(env, approval_id).state, stored_approval(env, approval_id).decided_by) == (
        state,
        "terminal",
    )
    (decision,) = audit(env, "decision")
    assert (decision.verdict, decision.by, decision.approval_id) == (state, "terminal", approval_id)


@pytest.mark.parametrize("command", ["approve", "deny"])
def test_a_wrong_passphrase_decides_nothing_and_is_audited(run: Run, env: dict[str, str], command: str) -> None:
    set_passphrase(env)
    approval_id = ask(env)
    result = run(command, approval_id, typed="not this one\n")
    assert "Wrong passphrase." in refused(result)
    assert "not this one" not in result.output
    assert stored_approval(env, approval_id).state == "waiting"
    assert [(entry.verdict, entry.by) for entry in audit(env, "decision")] == [("wrong", "terminal")]


def test_a_wrong_passphrase_delays_even_the_right_one(run: Run, env: dict[str, str]) -> None:
    set_passphrase(env)
    approval_id = ask(env)
    Context().run(anyio.run, type_six_wrong, env)
    delayed = refused(run("approve", approval_id, typed=PASSPHRASE + "\n"))
    assert re.search(r"Nothing was checked or changed.* Try again in \d+ seconds\.", delayed)
    assert "Nothing was checked or changed" in refused(run("deny", approval_id, typed="wrong\n"))
    assert stored_approval(env, approval_id).state == "waiting"
    assert [entry.code for entry in audit(env, "alarm")] == ["passphrase.wrong_tries"]


async def type_six_wrong(env: dict[str, str]) -> None:
    async with open_guard(read_settings(env)) as guard:
        await type_wrong(guard, "terminal", 6)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX modes")
def test_a_state_folder_that_others_can_write_is_refused_with_the_mode_to_set(run: Run, env: dict[str, str]) -> None:
    root = Path(env["MACHINES_STATE_DIR"])
    root.mkdir()
    root.chmod(0o777)
    result = run("approve")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"The state folder can't be used. Other users can write to {root}. Run: chmod 0755 {root}\n"
    )
    assert list(root.iterdir()) == []
    root.chmod(0o755)
    assert run("approve").exit_code == 0


@pytest.mark.parametrize("command", ["approve", "deny"])
def test_without_a_set_passphrase_nothing_can_be_decided(run: Run, env: dict[str, str], command: str) -> None:
    approval_id = ask(env)
    assert "No passphrase is set" in refused(run(command, approval_id, typed=PASSPHRASE + "\n"))
    assert stored_approval(env, approval_id).state == "waiting"


@pytest.mark.parametrize("typed", ["", "\n"])
def test_an_empty_passphrase_is_not_a_wrong_attempt(run: Run, env: dict[str, str], typed: str) -> None:
    set_passphrase(env)
    approval_id = ask(env)
    result = run("approve", approval_id, typed=typed)
    assert result.exit_code == 2
    assert "no input" in result.stderr
    assert audit(env, "decision") == []


def test_in_embedded_the_command_alone_decides(run: Run, env: dict[str, str]) -> None:
    embedded = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": env["MACHINES_STATE_DIR"]}
    approval_id = ask(embedded)
    assert run("approve", approval_id, **embedded, MACHINES_PARTNER_KEY=None, MACHINES_USER_ID=None).exit_code == 0
    assert stored_approval(embedded, approval_id).state == "granted"


@pytest.mark.parametrize("arguments", [(), ("ID",)], ids=["all", "one"])
def test_approval_details_are_shown_before_the_prompt(
    run: Run, env: dict[str, str], arguments: tuple[str, ...]
) -> None:
    set_passphrase(env)
    approval_id = ask(env, asked_by="agent 1.0")
    result = run("approve", *(approval_id for _ in arguments))
    for shown in (approval_id, "create_withdrawal", "class money", "agent 1.0", "Withdraw $5.00", "user-1", ADDRESS):
        assert shown in result.stdout
    assert f"{ADDRESS}  (the first withdrawal to this destination)" in result.stdout
    approval = stored_approval(env, approval_id)
    assert approval.expires_at - approval.created_at == 900
    assert f"open until {_hour(approval.expires_at)} UTC" in result.stdout


def _hour(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"


def test_only_waiting_approvals_are_listed(run: Run, env: dict[str, str]) -> None:
    assert run("approve").stdout.startswith("No approvals are waiting")
    set_passphrase(env)
    ids = [ask(env, digest=digest) for digest in ("d1", "d2", "d3")]
    run("deny", ids[1], typed=PASSPHRASE + "\n")
    shown = run("approve").stdout
    assert [found in shown for found in ids] == [True, False, True]


@pytest.mark.parametrize("tool", [*TOOL_WORDS, "tool_of_another_version"])
def test_a_call_is_named_in_the_words_of_the_desk_and_its_names_stand_last(env: dict[str, str], tool: str) -> None:
    approval = replace(stored_approval(env, ask(env)), tool=tool)
    _, head, *details = format_approval(approval).splitlines()
    named = TOOL_WORDS[tool].kind if tool in TOOL_WORDS else tool
    assert head.startswith(f"  {named}, requested by “agent 1.0” (self-reported name) at ")
    assert "money" not in head and [line for line in details if tool in line] == [details[-1]]
    assert details[-1].split("  ")[-1].strip() == f"{tool}, class money: money or spending"


def test_control_characters_are_removed_from_the_listing(run: Run, env: dict[str, str]) -> None:
    ask(env, ApprovalDetails("Pay?\x1b[2J\u202e", items=(Detail("To\x07", "x\x1b]0;y", "z\x9b"),)))
    shown = run("approve").stdout
    assert all(printable(line) == line for line in shown.splitlines())
    assert "\x07" not in shown and "\x9b" not in shown


@pytest.mark.parametrize("wrong", ["x", "", "0123456789ABCDEF" * 2, "0123456789abcdef" * 2 + "0", "../" * 10])
@pytest.mark.parametrize("command", ["approve", "deny"])
def test_an_invalid_id_is_refused(run: Run, command: str, wrong: str) -> None:
    result = run(command, wrong)
    assert result.exit_code == 2
    assert result.stderr.startswith("ID must be the 32 characters")


def test_a_decided_approval_reports_its_decision(run: Run, env: dict[str, str]) -> None:
    set_passphrase(env)
    approval_id = ask(env)
    assert "No approval has this id" in refused(run("approve", "0" * 32))
    run("approve", approval_id, typed=PASSPHRASE + "\n")
    assert "Already approved" in refused(run("approve", approval_id, typed=PASSPHRASE + "\n"))
    assert "Already approved" in refused(run("deny", approval_id, typed=PASSPHRASE + "\n"))


def test_a_withdrawn_request_has_nothing_to_decide(run: Run, env: dict[str, str]) -> None:
    set_passphrase(env)
    approval_id = ask(env, withdraw=True)
    assert "No approvals" in run("approve").stdout
    for command in ("approve", "deny"):
        assert "The assistant withdrew this request" in refused(run(command, approval_id, typed=PASSPHRASE + "\n"))


def test_another_policy_decides_nothing_and_names_the_setting(run: Run, env: dict[str, str], tmp_path: Path) -> None:
    set_passphrase(env)
    approval_id = ask(env)
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\nenvironment = "sandbox"\n[withdrawals]\nper_call_cents = 100\n', encoding="ascii")
    policy.chmod(0o600)
    for command in ("approve", "deny"):
        result = run(command, approval_id, typed=PASSPHRASE + "\n", MACHINES_POLICY=str(policy))
        assert "MACHINES_POLICY" in refused(result)
    assert stored_approval(env, approval_id).state == "waiting"
    for count, says in ((1, "1 call waits under another policy."), (2, "2 calls wait under another policy.")):
        listed = run("approve", MACHINES_POLICY=str(policy)).stdout
        assert "No approvals that you can decide here are waiting" in listed
        assert says in listed and "MACHINES_POLICY" in listed and approval_id not in listed
        as_json = run("approve", "--json", MACHINES_POLICY=str(policy))
        assert (as_json.stdout, says in as_json.stderr) == ("[]\n", True)
        ask(env, digest=f"another {count}")


@pytest.mark.parametrize("command", ["approve", "deny"])
@pytest.mark.parametrize(
    ("state", "expired"),
    [
        ("waiting", True),
        *((state, end) for state in ("granted", "executing", "done", "failed", "refused") for end in (False, True)),
    ],
)
def test_an_approval_that_can_be_decided_no_more_says_whether_it_can_be_used(
    run: Run, env: dict[str, str], command: str, state: str, expired: bool
) -> None:
    approval_id = ask(env)
    with closing(sqlite3.connect(read_settings(env).state_dir / "state.db")) as db, db:
        db.execute("UPDATE approvals SET state = ? WHERE id = ?", (state, approval_id))
        if expired:
            db.execute("UPDATE approvals SET expires_at = 1 WHERE id = ?", (approval_id,))
    says = refused(run(command, approval_id, typed=PASSPHRASE + "\n"))
    # Only a grant that is valid can be used, so only then is the call to be repeated.
    assert ("can repeat the call" in says) == ((state, expired) == ("granted", False))
    assert ("can request it again" in says) == (expired and state in ("waiting", "granted"))
    assert ("pproved" in says) == (state not in ("waiting", "refused"))


@pytest.mark.parametrize(("only", "where"), [("page", "on its own page"), ("form", "at the desk")])
def test_an_approval_of_its_own_page_can_only_be_denied_here(
    run: Run, env: dict[str, str], only: str, where: str
) -> None:
    set_passphrase(env)
    approval_id = ask(env, ApprovalDetails("Show the card?", only=only, sink="page" if only == "page" else None))  # type: ignore[arg-type]
    assert where in refused(run("approve", approval_id, typed=PASSPHRASE + "\n"))
    assert stored_approval(env, approval_id).state == "waiting"
    assert run("deny", approval_id, typed=PASSPHRASE + "\n").exit_code == 0
    assert stored_approval(env, approval_id).state == "refused"


def test_the_public_testing_helpers_decide_like_the_commands(env: dict[str, str]) -> None:
    async def story() -> list[str]:
        await testing.set_passphrase(env, PASSPHRASE)
        with pytest.raises(ValueError, match="another passphrase"):
            await testing.set_passphrase(env, PASSPHRASE)
        decisions = [await testing.decide(env, ids[0], passphrase="wrong")]
        async with open_guard(read_settings(env)) as guard:
            await type_wrong(guard, "terminal", 7)
        decisions.append(await testing.decide(env, ids[0], passphrase=PASSPHRASE))
        async with open_guard(read_settings(env)) as guard:
            await end_delays(guard)
        decisions.append(await testing.decide(env, ids[0], passphrase=PASSPHRASE))
        return [*decisions, await testing.decide(env, ids[1], yes=False, passphrase=PASSPHRASE)]

    ids = [ask(env, digest=digest) for digest in ("d1", "d2")]
    assert anyio.run(story) == ["wrong", "delayed", "granted", "refused"]


@pytest.mark.anyio
async def test_the_list_at_a_terminal_shows_each_new_call_and_decision(env: dict[str, str]) -> None:
    settings = read_settings(env)
    send, lists = anyio.create_memory_object_stream[str](9)
    async with open_guard(settings) as guard, anyio.create_task_group() as tasks:
        with send, lists, anyio.fail_after(PATIENCE):
            tasks.start_soon(watch_waiting, settings, send.send_nowait)
            assert "No approvals are waiting" in await lists.receive()
            call_request = CallRequest("create_withdrawal", ActionClass.MONEY, "user-1", "d1", "agent 1.0")
            approval = await guard.approvals.open(call_request, DETAILS)
            assert approval.id in await lists.receive()
            await guard.approvals.refuse(approval.id, "desk")
            assert "No approvals are waiting" in await lists.receive()
            tasks.cancel_scope.cancel()


def test_the_list_at_a_terminal_ends_by_control_c(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    approval_id = ask(env)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def shown_once(show: Callable[[str], None], text: str) -> None:
        show(text)
        raise KeyboardInterrupt

    async def watch(settings: Settings, show: Callable[[str], None]) -> None:
        shown_once(show, format_waiting(settings, *await waiting_approvals(settings)))

    monkeypatch.setattr("machines_mcp.cli.approvals.watch_waiting", watch)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("sys.stdout", screen := Terminal())
    with pytest.raises(SystemExit) as ended:
        main(["approve"])
    assert ended.value.code == 0
    assert approval_id in screen.getvalue() and "Press Ctrl-C to end." in screen.getvalue()


def test_the_list_ends_at_once_outside_a_terminal(env: dict[str, str], run: Run) -> None:
    approval_id = ask(env)
    for options in ((), ("--once",)):
        assert approval_id in run("approve", *options).output


def test_the_beginning_of_an_id_decides_if_only_one_approval_has_it(run: Run, env: dict[str, str]) -> None:
    set_passphrase(env)
    ids = [ask(env, digest=f"d{number}") for number in range(17)]
    first = next(one for one in ids if sum(other[0] == one[0] for other in ids) > 1)
    shared = [one for one in ids if one[0] == first[0]]
    ambiguous = run("approve", first[0], typed=PASSPHRASE + "\n")
    assert (ambiguous.exit_code, ambiguous.stdout) == (2, "")
    assert f"{len(shared)} waiting approvals" in ambiguous.stderr and shared[0][:12] in ambiguous.stderr
    assert {stored_approval(env, one).state for one in ids} == {"waiting"}
    assert run("approve", first[:12], typed=PASSPHRASE + "\n").exit_code == 0
    assert run("deny", shared[1][:12], typed=PASSPHRASE + "\n").exit_code == 0
    assert [stored_approval(env, one).state for one in shared[:2]] == ["granted", "refused"]
    # It waits no more, so its beginning means nothing.
    assert run("approve", first[:12], typed=PASSPHRASE + "\n").exit_code == 2


def test_long_lines_of_an_approval_are_wrapped_and_the_address_stays_whole(
    run: Run, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("machines_mcp.cli.screen.screen_width", lambda *_: 80)
    approval_id = ask(env)
    shown = run("approve").stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert approval_id in shown and ADDRESS in shown


@pytest.mark.parametrize(("only", "how"), [("page", "its own page"), ("form", "its form"), (None, None)])
def test_the_list_says_where_each_call_can_be_approved(
    run: Run, env: dict[str, str], only: Literal["page", "form"] | None, how: str | None
) -> None:
    ask(env, replace(DETAILS, question="Show it? Once, here.", items=(Detail("Where", "Once, here"),), only=only))
    shown = run("approve").stdout
    assert shown.count("Once, here") == 1
    assert "machines-mcp deny ID" in shown
    assert ("machines-mcp approve ID" in shown) == (only is None)
    assert how is None or (how in shown and "Run machines-mcp desk." in shown)
