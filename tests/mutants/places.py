"""Find where the hunks of a patch land. git applies a short hunk wherever its lines match."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_HUNK = re.compile(r"@@ -\S+ \+\S+ @@ ?(?P<name>\w*)")
_SCOPE = re.compile(r"\s*(?:async def|def|class) (\w+)")


@dataclass
class Hunk:
    """A hunk: the function or class in its header, and the lines after it is applied.

    `at` is the index in `lines` of the first change.
    """

    file: str
    name: str
    lines: list[str] = field(default_factory=list)
    at: int | None = None


def hunks(patch: Path) -> Iterator[Hunk]:
    """Yield the hunks of a patch."""
    file, hunk = "", None
    for line in patch.read_text(encoding="utf-8").splitlines():
        if line.startswith(("--- ", "+++ ", "diff ")):
            file = line.removeprefix("+++ b/")
            if hunk is not None:
                yield hunk
            hunk = None
        elif found := _HUNK.match(line):
            if hunk is not None:
                yield hunk
            hunk = Hunk(file, found["name"])
        elif hunk is not None:
            if line[:1] in ("+", "-") and hunk.at is None:
                hunk.at = len(hunk.lines)
            if line[:1] != "-":
                hunk.lines.append(line[1:])
    if hunk is not None:
        yield hunk


def scopes_of_matches(hunk: Hunk, tree: Path) -> set[str]:
    """Return the last function or class before each match in a patched tree, or "" before the first."""
    text = (tree / hunk.file).read_text(encoding="utf-8").splitlines()
    size = len(hunk.lines)
    places = (start for start in range(len(text) - size + 1) if text[start : start + size] == hunk.lines)
    return {_scope(text[: start + (hunk.at or 0)]) for start in places}


def _scope(before: list[str]) -> str:
    return next((found[1] for line in reversed(before) if (found := _SCOPE.match(line))), "")
