"""Test `machines-mcp login` and `logout`: prompts, storage and output, which never contains the key."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import Context
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from machines_mcp.cli.main import main
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.keyring_store import key_file, read_keyring
from tests.support.keyrings import FakeKeyring, at_home
from tests.support.waiting import PATIENCE

KEY, OTHER = "mk-canary-0123456789", "mk-other-0123456789"

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKeyring]:
    yield from at_home(tmp_path, monkeypatch)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def command(*arguments: str, typed: str = "", **settings: str) -> Result:
        env = {"MACHINES_STATE_DIR": str(tmp_path / "state")} | settings
        result: Result = Context().run(CliRunner().invoke, main, list(arguments), input=typed, env=env)
        assert KEY not in result.output
        return result

    return command


def test_login_stores_a_line_of_stdin_for_the_named_environment(run: Run) -> None:
    result = run("login", "sandbox", typed=f"{KEY}\n")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "The key for sandbox is in the system's keyring. A server with MACHINES_ENV=sandbox uses it.",
        "No passphrase is set, so nothing can be approved. Run machines-mcp passphrase with this server's settings.",
    ]
    assert read_keyring("sandbox") == Secret(KEY)
    assert read_keyring("production") is None


def test_the_environment_can_come_from_the_settings(run: Run) -> None:
    assert run("login", typed=f"{KEY}\r\n", MACHINES_ENV="production").exit_code == 0
    assert read_keyring("production") == Secret(KEY)
    assert run("logout", MACHINES_ENV="production").stdout == "The key for production is no longer stored.\n"
    assert read_keyring("production") is None


@pytest.mark.parametrize("verb", ["login", "logout"])
@pytest.mark.parametrize("settings", [{}, {"MACHINES_ENV": "embedded"}, {"MACHINES_ENV": KEY}])
def test_login_without_an_environment_does_nothing(
    run: Run, keyring: FakeKeyring, verb: str, settings: dict[str, str]
) -> None:
    result = run(verb, typed=f"{KEY}\n", **settings)
    assert result.exit_code == 2
    assert "Name the environment of the key" in result.stderr
    assert keyring.asked == 0


@pytest.mark.parametrize(
    ("typed", "says"), [("", "no input"), ("short\n", "8 to 512 printable"), (f"{KEY} {KEY}\n", "8 to 512")]
)
def test_an_invalid_key_is_not_stored(run: Run, keyring: FakeKeyring, typed: str, says: str) -> None:
    result = run("login", "sandbox", typed=typed)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
    assert keyring.asked == 0


def test_a_key_is_never_an_argument(run: Run, keyring: FakeKeyring) -> None:
    assert run("login", "sandbox", OTHER).exit_code == 2
    assert run("login", OTHER).exit_code == 2
    assert keyring.asked == 0


def test_a_key_that_takes_precedence_is_reported(run: Run) -> None:
    result = run("login", "sandbox", typed=f"{KEY}\n", MACHINES_PARTNER_KEY=OTHER)
    assert result.exit_code == 0
    assert "MACHINES_PARTNER_KEY is set here and takes precedence." in result.stdout


def test_login_does_not_ask_for_a_passphrase_that_is_set(run: Run) -> None:
    real = {"MACHINES_ENV": "sandbox", "MACHINES_USER_ID": "user-1", "MACHINES_PARTNER_KEY": KEY}
    assert run("passphrase", typed="correct horse battery\n", **real).exit_code == 0
    assert "No passphrase" not in run("login", "sandbox", typed=f"{KEY}\n").stdout


def test_logout_reports_whether_a_key_was_stored(run: Run, keyring: FakeKeyring) -> None:
    keyring.mood = "forgetful"
    run("login", "sandbox", typed=f"{KEY}\n")
    assert key_file("sandbox").exists()
    assert run("logout", "sandbox").stdout == "The key for sandbox is no longer stored.\n"
    assert not key_file("sandbox").exists()
    nothing = run("logout", "sandbox")
    assert (nothing.exit_code, nothing.stdout) == (0, "No key was stored for sandbox. Nothing was removed.\n")


def test_a_keyring_that_refuses_deletion_is_reported(run: Run, keyring: FakeKeyring) -> None:
    run("login", "sandbox", typed=f"{KEY}\n")
    keyring.mood = "locked"
    result = run("logout", "sandbox")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == ("The key may still be stored: the keyring refused access. Unlock it and try again.\n")


def test_an_unwritable_key_folder_is_reported(run: Run, keyring: FakeKeyring, tmp_path: Path) -> None:
    keyring.mood = "forgetful"
    (tmp_path / "config").touch()
    result = run("login", "sandbox", typed=f"{KEY}\n")
    assert result.exit_code == 2
    assert "can't be written" in result.stderr


@pytest.mark.parametrize(("confirmed", "stored"), [("production", True), ("yes", False)])
@pytest.mark.check
def test_login_at_a_terminal_confirms_and_sets_the_first_passphrase(
    tmp_path: Path, confirmed: str, stored: bool
) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("MACHINES_")} | {
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "MACHINES_STATE_DIR": str(tmp_path / "state"),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    }
    answers = [
        ("to confirm: ", confirmed),
        ("Partner key: ", KEY),
        ("characters): ", "correct horse battery"),
        ("Repeat the new passphrase: ", "correct horse battery"),
    ]
    shown, code = _at_a_terminal(["login", "production"], env, answers if stored else answers[:1])
    assert "(api.machines.cash). It moves real money." in " ".join(shown.split())
    assert KEY not in shown
    assert "correct horse battery" not in shown
    assert ("The passphrase was set at" in shown, code) == ((True, 0) if stored else (False, 2))
    assert (tmp_path / "config" / "machines-mcp" / "keys" / "production.key").is_file() is stored


def _at_a_terminal(arguments: list[str], env: dict[str, str], answers: list[tuple[str, str]]) -> tuple[str, int]:
    """Answer each prompt in turn, and return the screen and the exit code."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "machines_mcp", *arguments]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True)
    os.close(theirs)
    shown, seen, until = "", 0, time.monotonic() + PATIENCE
    try:
        while time.monotonic() < until:
            if answers and answers[0][0] in shown[seen:]:
                seen = len(shown)
                os.write(ours, answers.pop(0)[1].encode() + b"\n")
            if not select.select([ours], [], [], 0.2)[0]:
                continue
            try:
                piece = os.read(ours, 4096)
            except OSError:  # Linux reports the end this way.
                break
            if not piece:
                break
            shown += piece.decode()
        return shown, process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
