"""The wheel, installed into an empty environment, completes the demo."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.environments import VirtualEnvironment

pytestmark = pytest.mark.check

STEPS = set(range(1, 16))
# The demo promises under 10 seconds. A loaded machine gets more time.
DEMO_SECONDS = 60


@pytest.fixture(scope="module")
def installed(root: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> VirtualEnvironment:
    environment = VirtualEnvironment(tmp_path_factory.mktemp("installed") / "venv")
    environment.install_lock(root / "locks" / "runtime.txt")
    environment.install_project(str(wheel))
    return environment


@pytest.fixture(scope="module")
def demo(installed: VirtualEnvironment, tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """Run `machines-mcp demo --json` with an empty home, outside the checkout and without the caller's settings."""
    home = tmp_path_factory.mktemp("home")
    return subprocess.run(
        [str(installed.bin / "machines-mcp"), "demo", "--json"],
        cwd=home,
        env={"HOME": str(home), "PATH": os.defpath},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEMO_SECONDS,
    )


def _calls(demo: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in demo.stdout.splitlines()]


def _steps(call: dict[str, Any]) -> list[int]:
    step = call["step"]
    return step if isinstance(step, list) else [step]


def test_demo_succeeds(demo: subprocess.CompletedProcess[str]) -> None:
    assert demo.returncode == 0, f"{demo.stdout[-2000:]}\n{demo.stderr[-4000:]}"


def test_demo_prints_one_json_object_per_call_and_nothing_else(
    demo: subprocess.CompletedProcess[str],
) -> None:
    calls = _calls(demo)

    assert calls
    for call in calls:
        assert set(call) == {"step", "tool", "ok", "ms", "result"}
        assert isinstance(call["tool"], str)
        assert isinstance(call["ms"], int)
        assert isinstance(call["result"], dict)


def test_demo_completes_all_fifteen_steps(demo: subprocess.CompletedProcess[str]) -> None:
    calls = _calls(demo)

    assert {step for call in calls for step in _steps(call)} >= STEPS
    assert [call["tool"] for call in calls if call["ok"] is not True] == []
