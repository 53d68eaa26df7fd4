"""Count how often one tool call changes module inside machines_mcp: `python -m benchmarks.call_path [--record NAME]`.

A switch is a function entered in another module than the function entered before it. Only the package's own functions
count, each once, however often it is suspended. Comprehensions don't count, because newer Pythons inline them. Returns
don't count either: coming back shows when the caller goes on to another function of its own.

`switches` covers the thread of the event loop, on which a call is served. `with_store` adds the store's thread. Both
are the least of several calls, made after a call that loads everything: background work can only add to them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import machines_mcp
from machines_mcp.testing import ReadyUser, ready_user

PACKAGE = Path(machines_mcp.__file__).parent
FIGURES = Path(__file__).parent.parent / "docs" / "call_path.json"
TERMS = {
    "amount_cents": 500,
    "currency": "rusd",
    "network": "base",
    "address": "0x" + "cd" * 20,
    "admin_address": "0x" + "7a" * 20,
}
RUNS = 3
# An earlier read's audit row is written within 0.1 s. It must not fall into the traced call.
QUIET_SECONDS = 0.3

# What straightening the call path was to reach: 60 % of the switches before.
SHARE = 0.6

_NOT_COUNTED = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "<module>")

Steps = list[tuple[int, str]]


class Tracer:
    """Records the functions entered below `folder`, on every thread started after the tracer was made."""

    def __init__(self, folder: Path = PACKAGE) -> None:
        self._prefix = f"{folder}/"
        self._steps: Steps | None = None
        self._frames: dict[int, FrameType] = {}

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let this thread, and those it starts meanwhile, report to the tracer."""
        before, before_threads = sys.getprofile(), threading.getprofile()
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(before)
            threading.setprofile(before_threads)

    @contextmanager
    def recording(self) -> Iterator[Steps]:
        """Record (thread, module) pairs in the list that this yields."""
        steps = self._steps = []
        try:
            yield steps
        finally:
            self._steps = None
            self._frames.clear()

    def _profile(self, frame: FrameType, event: str, argument: object) -> None:
        steps, code = self._steps, frame.f_code
        if steps is None or event != "call" or not code.co_filename.startswith(self._prefix):
            return
        # A coroutine reports a call each time it goes on. Holding the frame keeps its id from being used again.
        if id(frame) in self._frames or code.co_name in _NOT_COUNTED:
            return
        self._frames[id(frame)] = frame
        steps.append((threading.get_ident(), code.co_filename.removeprefix(self._prefix)))


def path(steps: Iterable[tuple[int, str]], thread: int | None = None) -> list[str]:
    """Return the modules in the order in which they were entered, without repeats; of one thread or of all."""
    found: list[str] = []
    for where, module in steps:
        if thread in (None, where) and found[-1:] != [module]:
            found.append(module)
    return found


async def measure(runs: int = RUNS, on_path: Callable[[str, list[str]], None] | None = None) -> dict[str, Any]:
    """Return the figures of each call. `on_path` receives the way of each call's last run."""
    tracer, figures = Tracer(), {}
    with tracer.installed():
        # A simulator in a thread would count as part of the call.
        async with ready_user(own_process=True) as user:
            for tool in ("create_card", "create_withdrawal", "get_balances"):
                figures[tool] = await _of(tracer, user, tool, runs, on_path)
    return figures


async def _of(
    tracer: Tracer,
    user: ReadyUser,
    tool: str,
    runs: int,
    on_path: Callable[[str, list[str]], None] | None,
) -> dict[str, int]:
    counts: list[tuple[int, int]] = []
    way: list[str] = []
    # The first run loads modules and opens connections and sessions.
    for _ in range(runs + 1):
        arguments = await _arguments(user, tool)
        await asyncio.sleep(QUIET_SECONDS)
        with tracer.recording() as steps:
            await user.call(tool, **arguments)
        way = path(steps, threading.get_ident())
        counts.append((len(way) - 1, len(path(steps)) - 1))
        if tool == "create_withdrawal":
            # Until the signature is used, Machines leaves the next withdrawal pending.
            await user.simulator.execute_withdrawal(user.user_id)
    if on_path is not None:
        on_path(tool, way)
    return {"switches": min(one for one, _ in counts[1:]), "with_store": min(every for _, every in counts[1:])}


async def _arguments(user: ReadyUser, tool: str) -> dict[str, Any]:
    if tool == "create_card":
        return {"limit_amount_cents": 5000, "limit_frequency": "per30DayPeriod"}
    if tool == "get_balances":
        return {}
    return {"quote_id": (await user.call("quote_withdrawal", **TERMS))["quote_id"]}


def table(recorded: dict[str, dict[str, dict[str, int]]]) -> str:
    """Return the recorded figures as a Markdown table."""
    rows = ["| call | before | after | share | now |", "| --- | --- | --- | --- | --- |"]
    for tool, was in recorded["before"].items():
        before, after, now = was["switches"], recorded["after"][tool]["switches"], recorded["now"][tool]["switches"]
        rows.append(f"| `{tool}` | {before} | {after} | {after / before:.0%} | {now} |")
    return "\n".join(rows)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.call_path", description="Count module switches.")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"traced calls of each tool ({RUNS})")
    parser.add_argument("--path", action="store_true", help="print the modules of each call in order")
    parser.add_argument("--record", metavar="NAME", help="save the figures under this name in docs/call_path.json")
    given = parser.parse_args(arguments)
    figures = asyncio.run(measure(given.runs, _show if given.path else None))
    print(json.dumps(figures, indent=2))
    if given.record:
        recorded = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
        FIGURES.write_text(json.dumps(recorded | {given.record: figures}, indent=2) + "\n", encoding="utf-8")
    return 0


def _show(tool: str, way: list[str]) -> None:
    print(f"{tool}: {' > '.join(way)}\n")


if __name__ == "__main__":
    sys.exit(main())
