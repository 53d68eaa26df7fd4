"""The peers' programs, installed once per test run and shared by its processes."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers.npm import installed, node_command


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return the folder of the installed packages."""
    base = tmp_path_factory.getbasetemp()
    # Each worker has its own folder inside the run's.
    shared = (base if worker_id == "master" else base.parent) / "peers"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = shared / "done"
        if not done.exists():
            installed(shared)
            done.touch()
    return shared / "node_modules"


@pytest.fixture(scope="session")
def node(node_modules: Path) -> Callable[..., list[str]]:
    """Return a function that builds the command for a package's program or a script."""
    return node_command(node_modules)
