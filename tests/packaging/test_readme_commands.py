"""Every command of the README runs in a copy of the checkout, with an empty home."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.environments import VirtualEnvironment

pytestmark = pytest.mark.check

BLOCK = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
# It runs all tests, and so this one.
NOT_RUN = "make test"
RUN_SECONDS = 600


def commands(readme: Path) -> list[str]:
    lines = "\n".join(BLOCK.findall(readme.read_text(encoding="utf-8"))).splitlines()
    return [command for line in lines if (command := line.partition("#")[0].strip())]


def test_the_readme_has_its_commands(root: Path) -> None:
    found = commands(root / "README.md")
    assert found[:2] == ["make demo", NOT_RUN]
    assert len(found) == len(set(found)) >= 5


def test_every_command_runs(root: Path, unpacked: Path, tmp_path: Path) -> None:
    tools = VirtualEnvironment(tmp_path / "uv")
    tools.install_lock(root / "locks" / "lock.txt")
    tools.download_lock(root / "locks" / "runtime.txt", tmp_path / "wheels")
    home = tmp_path / "home"
    home.mkdir()
    path = os.pathsep.join([str(tools.bin), str(home / ".local/bin"), os.environ["PATH"]])
    # The dependencies come from the wheels here, and from an index elsewhere.
    offline = {"UV_OFFLINE": "1", "UV_NO_INDEX": "1", "UV_FIND_LINKS": str(tmp_path / "wheels")}
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    env = kept | offline | {"UV_PYTHON": sys.executable, "HOME": str(home), "PATH": path}
    for command in [each for each in commands(root / "README.md") if each != NOT_RUN] + ["machines-mcp --version"]:
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=unpacked,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert (home / ".config/Claude/claude_desktop_config.json").is_file()
    dry = subprocess.run(["make", "--dry-run", "test"], cwd=unpacked, env=env, capture_output=True, timeout=RUN_SECONDS)
    assert dry.returncode == 0
