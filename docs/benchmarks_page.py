"""Generate the tables of docs/benchmarks.md from the recorded runs in docs/benchmarks.json."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
PICTURE = "pictures/benchmarks.png"
_PART = "<!-- {0}: made by `make docs` -->\n"
_NONE = "No run has been recorded yet.\n"

Run = Mapping[str, Any]


def runs() -> dict[str, Run]:
    """Return the recorded runs by name."""
    sys.path.insert(0, str(ROOT))
    from benchmarks.record import RUNS, kept

    return dict(kept(RUNS))


def bare(known: Mapping[str, Run]) -> str:
    """Return the comparison with a bare SDK server, with the targets."""
    from benchmarks.report import Row, as_table

    found = [known[name] for name in sorted(known) if name.startswith("bare ")]
    parts = (f"{_head(run)}\n\n{as_table([Row(**row) for row in run['figures']['rows']])}\n" for run in found)
    return "\n".join(parts) or _NONE


def stages(known: Mapping[str, Run]) -> str:
    """Return which stage of a call takes what."""
    from benchmarks.stages import as_table

    run = known.get("stages")
    if run is None:
        return _NONE
    return f"`{run['command']}` on {run['where']}.\n\n{as_table(run['figures'])}\n"


def peers(known: Mapping[str, Run]) -> str:
    """Return the comparison with published servers."""
    from benchmarks.comparison import as_table

    run = known.get("peers")
    if run is None:
        return _NONE
    table = as_table(run["figures"]["servers"])
    return f"{_head(run)}\n\n{table}\n\n![Bar charts of the figures above, one panel per quantity]({PICTURE})\n"


def _head(run: Run) -> str:
    figures = run["figures"]
    # The load affects every absolute figure, so the page shows it.
    busy = f"; load average {figures['load']:.1f} before the run" if figures.get("load") else ""
    return f"`{run['command']}` on {run['where']}; protocol {figures['protocol']}; {figures['runs']} rounds{busy}."


def page() -> str:
    """Return the whole page with new generated blocks."""
    text, known = PAGE.read_text(encoding="utf-8"), runs()
    for part in (bare, stages, peers):
        name, made = part.__name__, part(known)
        pattern = re.compile(rf"({re.escape(_PART.format(name))}).*?(<!-- /{name} -->)", re.DOTALL)
        text, found = pattern.subn(lambda match, made=made: f"{match[1]}{made}{match[2]}", text)  # type: ignore[misc]
        if found != 1:
            raise ValueError(f"docs/benchmarks.md has no place for {name}")
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
