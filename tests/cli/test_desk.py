"""Test `machines-mcp desk`, and that a server imports the desk only when needed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.waiting import PATIENCE


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MACHINES_")}
    return kept | {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder), "CI": "1"}


@contextmanager
def serving(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command without a server, and yield the process and the address it prints."""
    command = [sys.executable, "-m", "machines_mcp", "desk"]
    process = subprocess.Popen(
        command, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


@pytest.mark.skipif(os.name != "posix", reason="ends it by a signal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_the_desk_until_it_is_stopped(tmp_path: Path, number: int) -> None:
    with serving(tmp_path) as (process, address):
        assert "Machines desk" in httpx.get(address, trust_env=False).text
        again = subprocess.run(
            [sys.executable, "-m", "machines_mcp", "desk", "--open"],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert (again.returncode, again.stdout.strip()) == (0, address)
        assert "No browser could be opened" in again.stderr
        process.send_signal(number)
        assert process.wait(PATIENCE) == 0
        assert not (tmp_path / "embedded" / "desk.json").exists()


def test_the_desk_is_not_imported_before_it_is_needed(tmp_path: Path) -> None:
    look = """
import json, sys
from machines_mcp.server.app import App
from machines_mcp.server.settings_reader import read_settings
app = App(read_settings(), opens_pages=True)
app.server(); app.load()
print(json.dumps(sorted(name for name in sys.modules if name.split(".")[0] in ("jinja2", "machines_mcp"))))
"""
    out = subprocess.run(
        [sys.executable, "-c", look], env=environment(tmp_path), capture_output=True, text=True, timeout=PATIENCE
    )
    loaded = json.loads(out.stdout)
    assert "machines_mcp.tools.kyc" in loaded
    assert not [name for name in loaded if name.startswith(("machines_mcp.desk", "jinja2"))]
