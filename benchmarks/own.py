"""Start servers from this checkout."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.wire import Command

ROOT = Path(__file__).parents[1]


def command(name: str, module: str, home: Path, **settings: str) -> Command:
    """Return a command on this interpreter, with its own home and none of the caller's settings."""
    home.mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": os.defpath,
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "MACHINES_STATE_DIR": str(home / "state"),
        **settings,
    }
    return Command(name, (sys.executable, "-m", module), environment)
