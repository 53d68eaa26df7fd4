"""Test `machines-mcp passphrase`: prompts, output and exit codes (0 set, 1 refused, 2 not attempted)."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from datetime import UTC, datetime
from types import SimpleNamespace

import anyio
import pytest
from click.testing import CliRunner, Result

from machines_mcp.cli import prompt
from machines_mcp.cli.main import main
from machines_mcp.permissions.factory import Guard
from machines_mcp.permissions.passphrase import PassphraseResult
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import open_guard
from tests.support.waiting import PATIENCE
from tests.support.wrong_tries import end_delays, type_wrong

FIRST, SECOND = "correct horse battery", "staple correct horse"

Run = Callable[..., Result]


@pytest.fixture
def run(env: dict[str, str]) -> Run:

    def command(*arguments: str, typed: Sequence[str] = ()) -> Result:
        lines = "".join(f"{line}\n" for line in typed)
        result: Result = Context().run(CliRunner().invoke, main, ["passphrase", *arguments], input=lines, env=dict(env))
        assert not any(line and line in result.output for line in typed)
        return result

    return command


def with_guard(env: dict[str, str], work: Callable[[Guard], Awaitable[None]]) -> None:
    async def opened() -> None:
        async with open_guard(read_settings(env)) as guard:
            await work(guard)

    anyio.run(opened)


def check(env: dict[str, str], passphrase: str) -> PassphraseResult:
    async def checked() -> PassphraseResult:
        async with open_guard(read_settings(env)) as guard:
            return await guard.passphrase.check(Secret(passphrase), "terminal")

    return anyio.run(checked)


def test_the_first_passphrase_is_set_and_its_date_reported(run: Run, env: dict[str, str]) -> None:
    result = run("--status")
    assert (result.exit_code, result.stderr) == (1, "No passphrase is set.\n")
    result = run(typed=[FIRST])
    assert result.exit_code == 0
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert result.stdout.startswith(f"The passphrase was set at {today} ")
    assert check(env, FIRST) == "right"
    status = run("--status")
    assert status.exit_code == 0
    assert status.stdout.startswith(f"A passphrase was set at {today} ")


def test_changing_the_passphrase_requires_the_old_one(run: Run, env: dict[str, str]) -> None:
    run(typed=[FIRST])
    refused = run(typed=[SECOND, SECOND])
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "Wrong passphrase. Nothing was changed." in refused.stderr
    with_guard(env, end_delays)
    changed = run(typed=[FIRST, SECOND])
    assert changed.exit_code == 0
    assert changed.stdout.startswith("The passphrase was changed at ")
    assert check(env, SECOND) == "right"


def test_wrong_old_passphrases_delay_the_change_and_raise_an_alarm(run: Run, env: dict[str, str]) -> None:
    run(typed=[FIRST])
    with_guard(env, lambda guard: type_wrong(guard, "terminal", 5))
    delayed = run(typed=[FIRST, SECOND, SECOND])
    assert (delayed.exit_code, delayed.stdout) == (1, "")
    assert re.search(r"Nothing was checked or changed.* Try again in \d+ seconds\.", delayed.stderr)
    assert "5 wrong passphrases were typed in a terminal since" in run("--status").stdout
    assert check(env, FIRST) == "delayed"


@pytest.mark.parametrize("new", ["short", "1234567", "x" * 201])
def test_a_passphrase_of_the_wrong_length_is_refused_with_the_rule(run: Run, env: dict[str, str], new: str) -> None:
    result = run(typed=[new])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "A passphrase must have 8 to 200 characters. Nothing was set.\n"
    assert check(env, new) == "unset"


@pytest.mark.parametrize("typed", [[], [""], [FIRST]])
def test_empty_input_is_reported_and_changes_nothing(run: Run, env: dict[str, str], typed: list[str]) -> None:
    if typed == [FIRST]:
        run(typed=[FIRST])
    before = check(env, FIRST)
    result = run(typed=typed)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no input" in result.stderr
    assert check(env, FIRST) == before


def test_a_corrupt_passphrase_file_is_named_with_the_fix(run: Run, env: dict[str, str]) -> None:
    run(typed=[FIRST])
    file = read_settings(env).state_dir / "keys" / "passphrase.json"
    file.write_text("{", encoding="ascii")
    for result in (run("--status"), run(typed=[FIRST, SECOND])):
        assert (result.exit_code, result.stdout) == (2, "")
        assert str(file) in result.stderr
        assert "then set a new passphrase" in result.stderr


def test_a_passphrase_is_neither_an_argument_nor_a_variable(run: Run, env: dict[str, str]) -> None:
    assert run(FIRST).exit_code == 2
    env["MACHINES_PASSPHRASE"] = FIRST
    result = run()
    assert result.exit_code == 2
    assert "not a setting" in result.stderr


# A terminal


def run_at_terminal(env: dict[str, str], *answers: str) -> tuple[int, str]:
    """Answer each prompt of a process at a pseudo-terminal, and return its exit code and the whole screen."""
    ours, theirs = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MACHINES_")}
    command = [sys.executable, "-m", "machines_mcp", "passphrase"]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=plain | env, start_new_session=True
    )
    os.close(theirs)
    screen, left, deadline = b"", list(answers), time.monotonic() + PATIENCE
    try:
        while time.monotonic() < deadline:
            ready = select.select([ours], [], [], 0.5)[0]
            try:
                piece = os.read(ours, 1000) if ready else b""
            except OSError:  # the other end is closed
                break
            screen += piece
            if left and screen.rstrip(b" ").endswith(b":"):
                os.write(ours, left.pop(0).encode() + b"\n")
                screen += b"<typed>"
        return process.wait(PATIENCE), screen.decode()
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.check
def test_a_terminal_prompts_twice_and_shows_no_passphrase(env: dict[str, str]) -> None:
    status, screen = run_at_terminal(env, FIRST, FIRST)
    assert status == 0, screen
    assert screen.count("<typed>") == 2
    assert FIRST not in screen
    assert check(env, FIRST) == "right"
    status, screen = run_at_terminal(env, FIRST, SECOND, SECOND)
    assert status == 0, screen
    assert FIRST not in screen and SECOND not in screen
    assert check(env, SECOND) == "right"


@pytest.mark.check
def test_differing_new_passphrases_are_not_set(env: dict[str, str]) -> None:
    status, screen = run_at_terminal(env, FIRST, SECOND)
    assert status == 2
    assert "passphrases differ" in screen
    assert check(env, FIRST) == "unset"


# Lines of stdin


def pipe_to_stdin(monkeypatch: pytest.MonkeyPatch, content: bytes, *, close: bool = True) -> prompt.TerminalInput:
    reader, writer = os.pipe()
    os.write(writer, content)
    if close:
        os.close(writer)
    monkeypatch.setattr(sys, "stdin", os.fdopen(reader, "r"))
    return prompt.TerminalInput()


def test_stdin_lines_may_end_with_lf_or_crlf(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = pipe_to_stdin(monkeypatch, "one\r\n zwei \n\n\xff".encode("latin-1"))
    assert [lines.read_secret("?").expose() for _ in range(2)] == ["one", " zwei "]
    with pytest.raises(prompt.NoInput, match="New one"):
        lines.read_secret("New one")
    assert lines.read_secret("?").expose() == "\udcff"
    sys.stdin.close()


def test_waiting_for_a_stdin_line_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt, "LINE_SECONDS", 0.1)
    lines = pipe_to_stdin(monkeypatch, b"", close=False)
    with pytest.raises(prompt.NoInput):
        lines.read_secret("?")
    sys.stdin.close()


def test_an_endless_stdin_line_is_truncated(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without the limit, it would wait forever for the end of the line.
    monkeypatch.setattr(prompt, "LINE_SECONDS", threading.TIMEOUT_MAX)
    lines = pipe_to_stdin(monkeypatch, b"x" * 50_000, close=False)
    assert len(lines.read_secret("?").expose()) == prompt.MAX_LINE_BYTES
    sys.stdin.close()


def test_a_process_without_stdin_has_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(prompt.NoInput):
        prompt.TerminalInput().read_secret("?")


@pytest.mark.parametrize("secret", [True, False], ids=["passphrase", "answer"])
def test_the_first_ctrl_c_ends_a_prompt(monkeypatch: pytest.MonkeyPatch, secret: bool) -> None:
    typed = []

    def read(*_: str) -> str:
        signal.raise_signal(signal.SIGINT)
        typed.append("the read went on")
        return "typed"

    async def ask() -> None:
        lines = prompt.TerminalInput()
        lines.read_secret("Your passphrase") if secret else lines.read_answer("Yes")

    monkeypatch.setattr("getpass.getpass", read)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True, readline=read))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        anyio.run(ask)
    assert typed == []
    assert signal.getsignal(signal.SIGINT) is before
