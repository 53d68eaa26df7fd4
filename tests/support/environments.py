"""Virtual environments for tests, and the Python versions on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from tests.support.waiting import PATIENCE

INSTALL_SECONDS = 300


class VirtualEnvironment:
    """A new virtual environment, filled from a lock only."""

    def __init__(self, folder: Path, python: str = sys.executable) -> None:
        self.folder = folder
        self.bin = folder / ("Scripts" if sys.platform == "win32" else "bin")
        if python == sys.executable:
            venv.create(folder, with_pip=True, symlinks=sys.platform != "win32")
        else:
            _run([python, "-m", "venv", str(folder)], timeout=PATIENCE)

    def install_lock(self, lock: Path, *options: str) -> None:
        self._pip("install", "--require-hashes", "--no-deps", "--requirement", str(lock), *options)

    def download_lock(self, lock: Path, into: Path) -> None:
        """Download the wheels of a lock into a folder."""
        hashes = ("--require-hashes", "--no-deps", "--only-binary", ":all:")
        self._pip("download", *hashes, "--requirement", str(lock), "--dest", str(into))

    def install_project(self, *what: str) -> None:
        """Install a wheel, or `--editable` and a tree, offline, with the lock's packages as dependencies."""
        self._pip("install", "--no-deps", "--no-index", "--no-build-isolation", *what)

    def _pip(self, *arguments: str) -> None:
        pip = [str(self.bin / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
        _run([*pip, *arguments], timeout=INSTALL_SECONDS)


def _run(command: Sequence[str], timeout: float) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def find_python(minor: int) -> str | None:
    """Return a working Python 3.`minor` with venv, from PATH or pyenv's folder."""
    name = f"python3.{minor}"
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [shutil.which(name), *map(str, sorted(pyenv.glob(f"versions/3.{minor}.*/bin/{name}"), reverse=True))]
    for candidate in candidates:
        if candidate and _works(candidate):
            return candidate
    return None


def _works(python: str) -> bool:
    # A version manager's shim is on PATH even if its version is not selected, and then fails.
    tried = subprocess.run([python, "-c", "import ensurepip, venv"], capture_output=True, timeout=PATIENCE)
    return tried.returncode == 0
