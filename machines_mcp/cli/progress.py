"""Show the progress of a wait on stderr: a bar on a terminal, otherwise a line per notification."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol, TextIO


class ProgressReporter(Protocol):
    """The MCP client's progress callback. `message` names what the call is waiting for."""

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None: ...


@contextmanager
def reporting_on(stream: TextIO) -> Iterator[ProgressReporter]:
    """Yield a progress callback for the client. A bar is removed at the end."""
    with ExitStack() as stack:
        yield _bar_reporter(stream, stack) if _is_screen(stream) else _line_reporter(stream)


def _is_screen(stream: TextIO) -> bool:
    # A bar moves the cursor, which a dumb terminal can't do.
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _line_reporter(stream: TextIO) -> ProgressReporter:
    async def report(progress: float, total: float | None, message: str | None) -> None:
        stream.write(f"{_description(message)}: {_share(progress, total):.0%} of the wait time has passed\n")
        stream.flush()

    return report


def _bar_reporter(stream: TextIO, stack: ExitStack) -> ProgressReporter:
    """Draw the bar at the first notification: most calls don't wait, and then rich is not loaded."""
    drawn: list[Callable[[float, str], None]] = []

    async def report(progress: float, total: float | None, message: str | None) -> None:
        if not drawn:
            drawn.append(_draw_bar(stream, stack))
        drawn[0](_share(progress, total), _description(message))

    return report


def _draw_bar(stream: TextIO, stack: ExitStack) -> Callable[[float, str], None]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    # rich respects NO_COLOR.
    console = Console(file=stream, highlight=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    bar = stack.enter_context(Progress(*columns, console=console, transient=True))
    task = bar.add_task("", total=1.0)
    return lambda share, words: bar.update(task, completed=share, description=words)


def _share(progress: float, total: float | None) -> float:
    return min(1.0, max(0.0, progress / total)) if total else 0.0


def _description(message: str | None) -> str:
    return f"Waiting for {message}" if message else "Waiting"
