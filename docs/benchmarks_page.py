"""Makes the tables of docs/benchmarks.md of the runs that were kept in docs/benchmarks.json."""

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
_NONE = "No run was kept yet.\n"

Run = Mapping[str, Any]


def runs() -> dict[str, Run]:
    """The runs that were kept, by name."""
    sys.path.insert(0, str(ROOT))
    from benchmarks.record import RUNS, kept

    return dict(kept(RUNS))


def bare(known: Mapping[str, Run]) -> str:
    """The server beside a bare one of the SDK, with the aims."""
    from benchmarks.report import Row, as_table

    run = known.get("bare")
    if run is None:
        return _NONE
    return f"{_head(run)}\n\n{as_table([Row(**row) for row in run['figures']['rows']])}\n"


def peers(known: Mapping[str, Run]) -> str:
    """The server beside other people's."""
    from benchmarks.comparison import as_table

    run = known.get("peers")
    if run is None:
        return _NONE
    table = as_table(run["figures"]["servers"])
    return f"{_head(run)}\n\n{table}\n\n![Each quantity as bars, a panel for each]({PICTURE})\n"


def _head(run: Run) -> str:
    figures = run["figures"]
    # A busy machine shows in every absolute figure, so how busy it was is said beside them.
    busy = f"; {figures['load']:.1f} processes wanted the processor just before" if figures.get("load") else ""
    return f"`{run['command']}` on {run['where']}; protocol {figures['protocol']}; {figures['runs']} rounds{busy}."


def page() -> str:
    """The whole document, its generated parts made anew."""
    text, known = PAGE.read_text(encoding="utf-8"), runs()
    for part in (bare, peers):
        name, made = part.__name__, part(known)
        pattern = re.compile(rf"({re.escape(_PART.format(name))}).*?(<!-- /{name} -->)", re.DOTALL)
        text, found = pattern.subn(lambda match, made=made: f"{match[1]}{made}{match[2]}", text)  # type: ignore[misc]
        if found != 1:
            raise ValueError(f"docs/benchmarks.md has no place for {name}")
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
