"""Typed client of the Machines Cash Partner API, independent of MCP.

Importing this package opens no connection. Each name is imported from its module on first access.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from pathlib import Path


def __getattr__(name: str) -> object:
    if name == "__all__":
        return sorted(_modules())
    if name not in _modules():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Kept, so that only the first access comes here.
    found = globals()[name] = getattr(import_module(_modules()[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted(_modules())


@cache
def _modules() -> dict[str, str]:
    """Return the module of each public name, as the type stub beside this file lists them."""
    stub = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    return {name: module for module, name in re.findall(r"^from (\S+) import (\w+) as \2$", stub, re.MULTILINE)}
