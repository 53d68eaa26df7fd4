"""Import the generators of the pages, which live in `docs/` and import each other from there."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).parents[2]


def generator(name: str) -> Any:
    """Import a module of `docs/`."""
    with mock.patch.object(sys, "path", [str(ROOT / "docs"), *sys.path]):
        return importlib.import_module(name)
