"""Test shell completion: commands, tools and waiting approvals, without errors or new files."""

from __future__ import annotations

import shutil
import subprocess
from contextvars import Context
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner

from machines_mcp.cli.main import main
from machines_mcp.testing import ready_user
from machines_mcp.tools.catalog import TOOLS
from tests.support.waiting import PATIENCE

SHELLS = ("bash", "zsh", "fish")


def offered(folder: Path, line: str, **settings: str) -> list[str]:
    """Return bash's completions at the end of this command line."""
    words = line.split(" ")
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder)} | settings
    env |= {"_MACHINES_MCP_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    result = Context().run(CliRunner().invoke, main, [], env=env, prog_name="machines-mcp")
    assert result.stderr == ""
    return [found.partition(",")[2] for found in result.stdout.split()]


def test_commands_are_completed(tmp_path: Path) -> None:
    assert offered(tmp_path, "machines-mcp ") == sorted(main.commands)
    assert offered(tmp_path, "machines-mcp audit ") == ["show", "verify"]


def test_tools_are_completed_as_arguments(tmp_path: Path) -> None:
    assert offered(tmp_path, "machines-mcp call ") == [tool.name for tool in TOOLS]
    assert offered(tmp_path, "machines-mcp call get_d") == ["get_deposit"]
    assert offered(tmp_path, "machines-mcp audit show --tool close") == ["close_card"]


@pytest.mark.parametrize("command", ["approve", "deny"])
def test_without_waiting_approvals_nothing_is_completed_or_created(tmp_path: Path, command: str) -> None:
    assert offered(tmp_path / "state", f"machines-mcp {command} ") == []
    assert list(tmp_path.iterdir()) == []
    assert offered(tmp_path, f"machines-mcp {command} ", MACHINES_ENV="nonsense") == []


async def _two_waiting(folder: Path) -> list[str]:
    async with ready_user(answer=None, state_dir=folder, balance_cents=0) as user:
        wishes = ({"limit_amount_cents": cents, "limit_frequency": "per30DayPeriod"} for cents in (1000, 2000))
        return [(await user.try_call("create_card", **wish))["approval_id"] for wish in wishes]


@pytest.mark.check
def test_waiting_approvals_are_completed_for_approve_and_deny(tmp_path: Path) -> None:
    found = Context().run(anyio.run, _two_waiting, tmp_path)
    assert offered(tmp_path, "machines-mcp approve ") == found
    assert offered(tmp_path, f"machines-mcp deny {found[1][:8]}") == [found[1]]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.check
def test_each_shell_accepts_its_completion_script(tmp_path: Path, shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert "_MACHINES_MCP_COMPLETE" in result.stdout
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([program, "-n"], input=result.stdout, encoding="utf-8", capture_output=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
