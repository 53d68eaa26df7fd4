"""The peers' programs, installed once per test run and shared by its processes."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.peers.npm import CLIENTS, PACKAGES, installed, node_command


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return the folder of the installed packages."""
    return _shared(tmp_path_factory.getbasetemp(), worker_id, "peers", PACKAGES)


@pytest.fixture(scope="session")
def client_modules(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return the folder of the installed clients."""
    return _shared(tmp_path_factory.getbasetemp(), worker_id, "clients", CLIENTS)


def _shared(base: Path, worker_id: str, name: str, packages: Sequence[str]) -> Path:
    # Each worker has its own folder inside the run's.
    shared = (base if worker_id == "master" else base.parent) / name
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = shared / "done"
        if not done.exists():
            installed(shared, packages)
            done.touch()
    return shared / "node_modules"


@pytest.fixture(scope="session")
def node(node_modules: Path) -> Callable[..., list[str]]:
    """Return a function that builds the command for a package's program or a script."""
    return node_command(node_modules)
