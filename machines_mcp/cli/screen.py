"""Print, fitted to the width of the terminal. Output to a pipe or file is never cut or wrapped."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence

import click

MIN_COLUMNS = 40
GAP = "  "


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text for a person. Lines that are too long are wrapped, with the same indentation. Words stay whole."""
    width = screen_width(err)
    click.echo(text if width is None else "\n".join(_fitted(line, width) for line in text.split("\n")), err=err, nl=nl)


def emit(text: str) -> None:
    """Print text for a program, or to copy, exactly as it is."""
    click.echo(text)


def at_terminal(err: bool = False) -> bool:
    """Return whether stdout, or stderr, is a terminal."""
    stream = sys.stderr if err else sys.stdout
    return stream is not None and stream.isatty()


def screen_width(err: bool = False) -> int | None:
    """Return the width of the terminal on stdout or stderr, at least 40; None if it is no terminal."""
    if not at_terminal(err):
        return None
    return max(MIN_COLUMNS, shutil.get_terminal_size().columns)


def wrapped(line: str, indent: int, most: int | None = None) -> str:
    """Wrap a line at the terminal's width, and at `most` characters. Words stay whole. Later lines are indented."""
    widths = [width for width in (screen_width(), most) if width is not None]
    return _filled(line, min(widths), indent) if widths else line


def _fitted(line: str, width: int) -> str:
    # A line that fits is not touched, because wrapping drops the spaces at its end.
    return line if len(line) <= width else _filled(line, width, min(len(line) - len(line.lstrip(" ")), width // 2))


def _filled(line: str, width: int, indent: int) -> str:
    return textwrap.fill(
        line,
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        expand_tabs=False,
        replace_whitespace=False,
    )


def table(columns: Mapping[str, Sequence[str]], right: Collection[str]) -> list[str]:
    """Return the columns, by title, as aligned lines. The columns in `right` are aligned to the right."""
    widths = {title: max(len(title), *map(len, cells)) for title, cells in columns.items()}
    lines = []
    for line in zip(*([title, *cells] for title, cells in columns.items()), strict=True):
        padded = (
            cell.rjust(widths[title]) if title in right else cell.ljust(widths[title])
            for title, cell in zip(columns, line, strict=True)
        )
        lines.append(GAP.join(padded).rstrip())
    return lines
