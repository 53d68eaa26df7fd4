"""Fit text to the width of the terminal. Output to a pipe or file is never cut or wrapped."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence

MIN_COLUMNS = 40
MIN_CELL = 10
GAP = "  "


def screen_width() -> int | None:
    """Return the width of the terminal on stdout, at least 40; None if stdout is none."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return max(MIN_COLUMNS, shutil.get_terminal_size().columns)


def wrapped(line: str, indent: int, most: int | None = None) -> str:
    """Wrap a line at the terminal's width, and at `most` characters. Words stay whole. Later lines are indented."""
    widths = [width for width in (screen_width(), most) if width is not None]
    if not widths:
        return line
    return textwrap.fill(
        line,
        min(widths),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        expand_tabs=False,
        replace_whitespace=False,
    )


def table(columns: Mapping[str, Sequence[str]], right: Collection[str], whole: Sequence[str]) -> list[str]:
    """Return the columns, by title, as aligned lines that fit the terminal.

    `whole` are the titles of columns that are never shortened. The rest is shortened to 10 characters, then left out
    from the last one on. The last line then names what was left out.
    """
    width, shown = screen_width(), dict(columns)
    widths = {title: max(len(title), *map(len, cells)) for title, cells in columns.items()}
    if width is not None:
        _shorten(widths, [title for title in columns if title not in whole], width)
        for title in [title for title in reversed(list(columns)) if title not in whole]:
            if _total(widths) > width:
                del widths[title], shown[title]
    lines = []
    for line in zip(*([title, *cells] for title, cells in shown.items()), strict=True):
        padded = (
            _cut(cell, widths[title]).rjust(widths[title])
            if title in right
            else _cut(cell, widths[title]).ljust(widths[title])
            for title, cell in zip(shown, line, strict=True)
        )
        lines.append(GAP.join(padded).rstrip())
    left_out = ", ".join(title for title in columns if title not in shown)
    return [*lines, *([wrapped(f"Left out: {left_out}. Use a wider terminal, or --json.", 0)] if left_out else [])]


def _shorten(widths: dict[str, int], shrinkable: Sequence[str], width: int) -> None:
    """Shorten the widest columns first, until all fit or none can be shortened."""
    while _total(widths) > width:
        widest = max(shrinkable, key=lambda title: widths[title] - len(title), default=None)
        if widest is None or widths[widest] <= max(MIN_CELL, len(widest)):
            return
        widths[widest] -= 1


def _total(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + len(GAP) * (len(widths) - 1)


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else f"{cell[: width - 1]}…"
