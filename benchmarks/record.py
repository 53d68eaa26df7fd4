"""Store the figures of runs in a file, from which the documents are generated."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.report import where

RUNS = Path(__file__).parents[1] / "docs" / "benchmarks.json"
"""The runs that docs/benchmarks.md reports."""


def busy() -> float | None:
    """Return the load average of the last minute; None if the system does not report it."""
    return os.getloadavg()[0] if sys.platform != "win32" else None


def kept(file: Path) -> dict[str, dict[str, Any]]:
    """Return the runs in a file by name (`command`, `where`, `figures`); empty if there is no file yet."""
    if not file.exists():
        return {}
    found: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return found


def keep(file: Path, name: str, command: str, figures: Mapping[str, Any]) -> None:
    """Store a run under its name, replacing an earlier one."""
    runs = kept(file) | {name: {"command": command, "where": where(), "figures": _rounded(dict(figures))}}
    file.write_text(json.dumps(dict(sorted(runs.items())), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _rounded(figures: Any) -> Any:
    """Round to four decimals: more are noise, and 16 digits can look like a card number."""
    if isinstance(figures, dict):
        return {name: _rounded(value) for name, value in figures.items()}
    if isinstance(figures, list):
        return [_rounded(value) for value in figures]
    return round(figures, 4) if isinstance(figures, float) else figures
