"""Test `machines-mcp freeze` and `unfreeze`: output, exit codes, and the servers of the same folder."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner, Result

from machines_mcp.cli.freeze import MAX_LISTED, describe_freezes
from machines_mcp.cli.main import main
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import load_operator_policy, open_guard
from machines_mcp.storage.freeze import Freeze
from machines_mcp.testing import set_passphrase
from tests.support.wrong_tries import end_delays

PASSPHRASE = "correct horse battery"

Run = Callable[..., Result]


@pytest.fixture
def run(env: dict[str, str]) -> Run:

    def command(*arguments: str, typed: str = "") -> Result:
        lines = f"{typed}\n" if typed else ""
        result: Result = Context().run(CliRunner().invoke, main, list(arguments), input=lines, env=dict(env))
        return result

    return command


async def forget_wrong_tries(env: dict[str, str]) -> None:
    async with open_guard(read_settings(env)) as guard:
        await end_delays(guard)


def test_freezing_takes_no_passphrase_and_lifting_does(run: Run, env: dict[str, str]) -> None:
    assert run("unfreeze").exit_code == 0
    frozen = run("freeze")
    assert frozen.exit_code == 0
    assert "of all users are now frozen" in frozen.output and "machines-mcp unfreeze" in frozen.output
    assert "already frozen" in run("freeze").output
    refused = run("unfreeze", typed=PASSPHRASE)
    assert (refused.exit_code, "No passphrase is set" in refused.output) == (1, True)
    anyio.run(set_passphrase, env, PASSPHRASE)
    assert run("unfreeze").exit_code == 2
    wrong = run("unfreeze", typed="wrong wrong wrong")
    assert (wrong.exit_code, "Wrong passphrase" in wrong.output) == (1, True)
    anyio.run(forget_wrong_tries, env)
    lifted = run("unfreeze", typed=PASSPHRASE)
    assert (lifted.exit_code, lifted.output.strip()) == (0, "Changes of all users are no longer frozen.")
    shown = run("audit", "show", "--kind", "setting").output
    assert "unfrozen" in shown and "terminal" in shown


def test_one_users_freeze_is_lifted_by_that_user_id(run: Run, env: dict[str, str]) -> None:
    anyio.run(set_passphrase, env, PASSPHRASE)
    frozen = run("freeze", "--user", "user-1")
    assert "of user “user-1” are now frozen" in frozen.output and "check the id" not in frozen.output
    other = run("unfreeze")
    assert other.exit_code == 0
    assert "of all users are not frozen" in other.output and "of user “user-1” are frozen since" in other.output
    assert run("unfreeze", "--user", "user-1", typed=PASSPHRASE).exit_code == 0
    assert "are not frozen" in run("unfreeze", "--user", "user-1").output


def test_a_user_that_the_policy_does_not_list_is_frozen_with_a_warning(run: Run, env: dict[str, str]) -> None:
    path = Path(env["MACHINES_STATE_DIR"]).parent / "policy.toml"
    path.write_text('version = 1\nenvironment = "sandbox"\nusers = ["user-1"]\n', encoding="ascii")
    path.chmod(0o600)
    env["MACHINES_POLICY"] = str(path)
    frozen = run("freeze", "--user", "user-l")
    assert frozen.exit_code == 0
    assert "are now frozen" in frozen.output and "check the id" in frozen.output


def test_a_broken_policy_file_prevents_no_freeze(run: Run, env: dict[str, str]) -> None:
    path = Path(env["MACHINES_STATE_DIR"]).parent / "policy.toml"
    path.write_text("version = ", encoding="ascii")
    path.chmod(0o600)
    assert run("freeze").exit_code == 0
    env["MACHINES_POLICY"] = str(path)
    assert "already frozen" in run("freeze").output
    assert run("unfreeze").exit_code == 2


@pytest.mark.parametrize("user_id", ["", " user-1", "a\x07b", "u" * 121, "user\udcff"])
def test_an_impossible_user_id_is_refused(run: Run, user_id: str) -> None:
    for command in ("freeze", "unfreeze"):
        refused = run(command, "--user", user_id)
        assert (refused.exit_code, "--user must" in refused.output) == (2, True)


async def freeze_as_before(env: dict[str, str], user_id: str) -> None:
    """Store a freeze as a version did that checked no user id."""
    settings = read_settings(env)
    async with open_guard(settings, load_operator_policy(settings)) as guard:
        await guard.freezes.freeze("terminal", user_id)


@pytest.mark.parametrize(
    "user_id", ["${MACHINES_USER}", "<user>", "null", " user-1", "a\x07b", "u" * 200, "\u202euser"]
)
def test_every_freeze_that_exists_can_be_lifted(run: Run, env: dict[str, str], user_id: str) -> None:
    anyio.run(set_passphrase, env, PASSPHRASE)
    anyio.run(freeze_as_before, env, user_id)
    assert run("freeze", "--user", user_id).exit_code == 2
    other = run("unfreeze", "--user", user_id + "!" * 120, typed=PASSPHRASE)
    assert (other.exit_code, "--user must" in other.output) == (2, True)
    lifted = run("unfreeze", "--user", user_id, typed=PASSPHRASE)
    assert (lifted.exit_code, "are no longer frozen" in lifted.output) == (0, True)
    assert run("unfreeze", "--user", user_id).exit_code == 2


def test_an_empty_user_id_never_lifts_the_freeze_of_all(run: Run, env: dict[str, str]) -> None:
    anyio.run(set_passphrase, env, PASSPHRASE)
    assert run("freeze").exit_code == 0
    refused = run("unfreeze", "--user", "", typed=PASSPHRASE)
    assert (refused.exit_code, "--user must" in refused.output) == (2, True)
    assert "already frozen" in run("freeze").output


def test_many_freezes_are_counted() -> None:
    found = [Freeze(f"user-{number}", 1_800_000_000.0, "desk") for number in range(MAX_LISTED + 3)]
    told = describe_freezes(found)
    assert "user-4" in told and "user-5" not in told and "3 more users are frozen." in told
    assert describe_freezes([]) == ""
