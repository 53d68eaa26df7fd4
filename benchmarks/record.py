"""Figures of runs that were made, kept in a file that documents are made of: what nobody ran can't stand there."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.report import where

RUNS = Path(__file__).parents[1] / "docs" / "benchmarks.json"
"""Where the runs are kept that docs/benchmarks.md tells of."""


def busy() -> float | None:
    """How many processes wanted the processor in the last minute, on average; None where the system does not tell."""
    return os.getloadavg()[0] if sys.platform != "win32" else None


def kept(file: Path) -> dict[str, dict[str, Any]]:
    """The runs in a file, by name: `command`, `where`, `figures`; none where there is no file yet."""
    if not file.exists():
        return {}
    found: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return found


def keep(file: Path, name: str, command: str, figures: Mapping[str, Any]) -> None:
    """Keep a run under its name, in place of the one that was there."""
    runs = kept(file) | {name: {"command": command, "where": where(), "figures": _rounded(dict(figures))}}
    file.write_text(json.dumps(dict(sorted(runs.items())), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _rounded(figures: Any) -> Any:
    """To what was measured: more digits say nothing, and sixteen of them can look like the number of a card."""
    if isinstance(figures, dict):
        return {name: _rounded(value) for name, value in figures.items()}
    if isinstance(figures, list):
        return [_rounded(value) for value in figures]
    return round(figures, 4) if isinstance(figures, float) else figures
