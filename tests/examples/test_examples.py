"""Each example runs on its own, as a reader would start it, and prints what it demonstrates."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples"
LONGEST = 60

AGENT = r"""status: done
create_session: done
resolve_user: done
get_kyc_requirements: done
  the person is asked: Send the user's identity data .*
submit_kyc: approved
get_agreements: done
  the person is asked: Accept 3 agreements for the user\? .*
accept_agreements: done
list_deposit_assets: done
quote_deposit: done
create_deposit: pending
get_deposit: completed
get_balances: done
create_session: done
  the person is asked: Issue a virtual card with a limit of \$50\.00 per 30 days\?
create_card: active
reveal_card: verified
list_transactions: done
no next step: the journey is complete
"""
PAYOUT = r"""25\.00 USD would arrive as about 25\.0 rusd
approval\.required: at the desk
the person: granted
ready to be sent on chain \d+, until \d{4}-\d\d-\d\dT[\d:.]+Z
a repeated call returns the same withdrawal: True
cents withdrawn: 2500
cents to spend: 7500
"""
LOST_CARD = r"""the card is active
  1200 cents: paid
reported lost, so it is locked
  3000 cents: card_not_active
not recovered, so it is canceled
the replacement is active
  3000 cents: paid
  posted: 3000 cents with the new card
  declined: 3000 cents with the lost card
  posted: 1200 cents with the lost card
"""
CALLS = r"""user: user-1
identity check: approved
agreements accepted: True
deposit: completed
card: active
error for an unknown card, as expected: not_found
"""

OUTPUTS = {"payout.py": PAYOUT, "lost_card.py": LOST_CARD}
LONGER = {"agent.py": AGENT, "calls.sh": CALLS, "test_my_agent.py": r"\.{3} .*\n3 passed in .*\n"}
# Away from a terminal, a wait is one line per poll. There is none if the deposit completes before the first poll.
STDERR = {"calls.sh": r"(Waiting for the deposit: \d{1,2}% of the wait time has passed\n)*"}
COMMANDS = {"calls.sh": ["sh"], "test_my_agent.py": [sys.executable, "-m", "pytest", "-q"]}


@pytest.mark.parametrize(
    ("name", "output"),
    [*OUTPUTS.items(), *(pytest.param(*item, marks=pytest.mark.check) for item in LONGER.items())],
    ids=[*OUTPUTS, *LONGER],
)
def test_example_runs_and_prints_its_output(name: str, output: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMANDS.get(name, [sys.executable, "-W", "error"]), FOLDER / name],
        cwd=ROOT,
        env=_environment(tmp_path),
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(STDERR.get(name, ""), done.stderr), done.stderr
    assert re.fullmatch(output, done.stdout), done.stdout


def test_the_shell_example_says_when_the_command_is_missing(tmp_path: Path) -> None:
    env = {"PATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    sh = shutil.which("sh") or "/bin/sh"
    done = subprocess.run([sh, FOLDER / "calls.sh"], env=env, capture_output=True, encoding="utf-8", timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch("machines-mcp is not on the PATH\\. .*\n", done.stderr), done.stderr


def test_every_example_is_tested_and_short() -> None:
    programs = {file.name: file for file in FOLDER.iterdir() if file.suffix in (".py", ".sh")}
    elsewhere = {"journey.py"}  # tested by tests/docs/test_client.py
    assert programs.keys() == {*OUTPUTS, *LONGER} | elsewhere
    for file in programs.values():
        assert len(file.read_text(encoding="utf-8").splitlines()) <= LONGEST, file.name


def test_readme_lists_every_example() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for file in FOLDER.iterdir():
        if file.suffix in (".py", ".sh"):
            assert f"(examples/{file.name})" in readme, file.name


def _environment(folder: Path) -> dict[str, str]:
    """Return the caller's environment without settings, with the tested project's command on PATH."""
    command = folder / "bin" / "machines-mcp"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m machines_mcp "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MACHINES_", "PYTEST_"))}
    path = os.pathsep.join([str(command.parent), str(Path(sys.executable).parent), kept.get("PATH", "")])
    return kept | {"PYTHONPATH": str(ROOT), "PATH": path, "TMPDIR": str(folder)}
