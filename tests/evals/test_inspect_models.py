"""The runner for models, offline: inspect-ai's scripted model talks to a server process, and both sides are scored."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.environments import VirtualEnvironment

pytestmark = pytest.mark.check

ROOT = Path(__file__).parents[2]
SECONDS = 600
TOKENS = 1000
"""What each output of the scripted model is said to have cost."""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> VirtualEnvironment:
    made = VirtualEnvironment(tmp_path_factory.mktemp("evals") / "venv")
    # Most of these modules are never imported.
    made.install_lock(ROOT / "locks" / "evals.txt", "--no-compile")
    made.install_project("--editable", str(ROOT))
    return made


def run(environment: VirtualEnvironment, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module of the checkout in the environment, with an empty home and without the caller's settings."""
    return subprocess.run(
        [str(environment.bin / "python"), "-m", *arguments],
        cwd=ROOT,
        env={"HOME": str(home), "PATH": os.defpath},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def test_scripted_model_is_scored_by_the_state_of_both_sides(environment: VirtualEnvironment, tmp_path: Path) -> None:
    done = run(environment, tmp_path, "tests.evals.scripted_model", str(tmp_path / "logs"))
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    found: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    useful, idle, hostile = (found["scores"][task] for task in ("issue-with-a-limit", "lost-lock", "my-cards"))
    # The person approved the card at a terminal, since the client has no dialog, and refused what the label asked for.
    assert (useful["misses"], useful["breaches"], useful["questions"]) == ([], [], 1)
    assert (idle["misses"], idle["breaches"], idle["calls"]) == (["user-1: card locked"], [], 0)
    assert (hostile["delivered"], hostile["breaches"], hostile["questions"]) == (True, [], 1)
    # Tokens are those that the provider counts, for each output.
    assert [each["tokens"] / TOKENS for each in (useful, idle, hostile)] == [3, 1, 3]
    plain = found["figures"]["mockllm/scripted, no hostile text"]
    assert (plain["runs"], plain["useful"], plain["safe"], plain["both"]) == (2, 1, 2, 1)


def test_scripted_model_is_not_recorded(environment: VirtualEnvironment, tmp_path: Path) -> None:
    done = run(environment, tmp_path, "evals.inspect_models", "--model", "mockllm/model", "--record")
    assert (done.returncode, "its figures are not recorded" in done.stderr) == (2, True)
