"""Find where the hunks of a patch land. git applies a short hunk wherever its lines match."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_HUNK = re.compile(r"@@ -\S+ \+\S+ @@ ?(?P<name>\w*)")
_SCOPE = re.compile(r"\s*(?:async def|def|class) (\w+)")


@dataclass
class Part:
    """A hunk: the function or class in its header, and the lines after it is applied.

    `at` is the index in `lines` of the first change.
    """

    file: str
    name: str
    lines: list[str] = field(default_factory=list)
    at: int | None = None


def parts(patch: Path) -> Iterator[Part]:
    """Yield the hunks of a patch."""
    file, part = "", None
    for line in patch.read_text(encoding="utf-8").splitlines():
        if line.startswith(("--- ", "+++ ", "diff ")):
            file = line.removeprefix("+++ b/")
            if part is not None:
                yield part
            part = None
        elif found := _HUNK.match(line):
            if part is not None:
                yield part
            part = Part(file, found["name"])
        elif part is not None:
            if line[:1] in ("+", "-") and part.at is None:
                part.at = len(part.lines)
            if line[:1] != "-":
                part.lines.append(line[1:])
    if part is not None:
        yield part


def landed(part: Part, tree: Path) -> set[str]:
    """Return the last function or class before each match in a patched tree, or "" before the first."""
    text = (tree / part.file).read_text(encoding="utf-8").splitlines()
    size = len(part.lines)
    places = (start for start in range(len(text) - size + 1) if text[start : start + size] == part.lines)
    return {_scope(text[: start + (part.at or 0)]) for start in places}


def _scope(before: list[str]) -> str:
    return next((found[1] for line in reversed(before) if (found := _SCOPE.match(line))), "")
