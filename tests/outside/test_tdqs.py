"""tdqs, a linter of tool definitions, finds nothing to warn of in the lists that a server gives.

It warns of tools without a description or hints, of undescribed arguments, and of a tool with a much cheaper sibling,
which an agent would call instead.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tools.test_descriptions import POLICIES, tools_of

pytestmark = pytest.mark.check

LINT_SECONDS = 120


def lint(*source: str) -> tuple[int, dict[str, Any]]:
    """Return the linter's exit code and report. Warnings fail it."""
    command = [sys.executable, "-m", "tdqs", "lint", *source, "--fail-on", "warning", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LINT_SECONDS)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("chosen", [(), ("read only", "pinned")], ids=lambda value: "+".join(value) or "plain")
def test_no_list_has_a_finding(policy: str, chosen: tuple[str, ...], tmp_path: Path) -> None:
    tools = tools_of(tmp_path, policy, chosen)
    (tmp_path / "tools.json").write_text(json.dumps({"tools": tools}), encoding="utf-8")
    code, report = lint("--file", str(tmp_path / "tools.json"))
    assert (code, report["findings"]) == (0, [])
    assert len(report["tools"]) == len(tools)


def test_list_that_a_process_sends_has_no_finding(tmp_path: Path) -> None:
    command = [
        *("env", f"MACHINES_STATE_DIR={tmp_path}", "MACHINES_ENV=embedded"),
        *(sys.executable, "-m", "machines_mcp", "serve"),
    ]
    code, report = lint("--command", shlex.join(command))
    assert (code, report["findings"]) == (0, [])
    assert len(report["tools"]) > 20


def test_undescribed_arguments_are_found(tmp_path: Path) -> None:
    tools = tools_of(tmp_path, "default", ())
    for field in next(tool for tool in tools if tool["name"] == "create_card")["inputSchema"]["properties"].values():
        field.pop("description")
    (tmp_path / "tools.json").write_text(json.dumps({"tools": tools}), encoding="utf-8")
    code, report = lint("--file", str(tmp_path / "tools.json"))
    assert code == 1
    assert [(one["rule"], one["tool"]) for one in report["findings"]] == [("undocumented-parameters", "create_card")]
