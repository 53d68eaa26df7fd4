"""Imports at start: a server that has answered `tools/list` has imported nothing that only calls need.

The test does not measure time. An extra import costs tens of milliseconds per start, which no functional test would
notice.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.own import command
from benchmarks.wire import ERAS, Era, Wire
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the pipes are read with select")

SECONDS = 60
# The SDK always imports starlette, uvicorn and cryptography. We keep our own additions out.
SDK = "import mcp.server.lowlevel, mcp.server.stdio, mcp_types"
# Our own packages that a server needs at the first call or later.
LATE = (
    *("machines_mcp.vault", "machines_mcp.desk", "machines_mcp.sandbox", "machines_mcp.testing"),
    *("machines_mcp.partner.transport", "machines_mcp.partner.client", "machines_mcp.partner.models"),
    *(
        "machines_mcp.cli.demo.run",
        "machines_mcp.cli.doctor.run",
        "machines_mcp.cli.call",
        "machines_mcp.cli.approvals",
    ),
)


def _listed(report: str) -> set[str]:
    """Return the modules in the output of Python's `-X importtime`, both found and searched for."""
    lines = (line for line in report.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip() for line in lines} - {"imported package"}


@pytest.fixture(scope="module")
def sdk() -> set[str]:
    asked = [sys.executable, "-X", "importtime", "-c", SDK]
    return _listed(subprocess.run(asked, capture_output=True, text=True, timeout=SECONDS, check=True).stderr)


def _started(era: Era, home: Path) -> set[str]:
    """Return what a server imported from its start until it listed its tools and exited."""
    server = command("ours", "machines_mcp", home)
    arguments = [sys.executable, "-X", "importtime", *server.arguments[1:]]
    with Wire(replace(server, arguments=arguments, log=home / "imports.txt"), era) as wire:
        wire.greet()
        assert wire.ask("tools/list", {})["tools"]
    return _listed((home / "imports.txt").read_text(encoding="utf-8"))


@pytest.mark.parametrize("era", ERAS)
def test_start_imports_only_what_the_sdk_imports(era: Era, sdk: set[str], tmp_path: Path) -> None:
    started = _started(era, tmp_path)
    assert {"mcp.server.lowlevel", "machines_mcp.server.app", "machines_mcp.tools.catalog"} <= started

    added = {module.partition(".")[0] for module in started} - {module.partition(".")[0] for module in sdk}
    assert added - sys.stdlib_module_names == {"machines_mcp"}
    assert [module for module in sorted(started) if module.startswith(LATE)] == []


@pytest.mark.parametrize("era", ERAS)
def test_tools_are_loaded_while_the_client_thinks(era: Era, tmp_path: Path) -> None:
    server, log = command("ours", "machines_mcp", tmp_path), tmp_path / "imports.txt"
    arguments = [sys.executable, "-X", "importtime", *server.arguments[1:]]
    with Wire(replace(server, arguments=arguments, log=log), era) as wire:
        wire.greet()
        wait_until(lambda: "machines_mcp.tools.catalog" in log.read_text(encoding="utf-8"))
