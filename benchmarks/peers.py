"""The command: `python -m benchmarks.peers [--runs N] [--only NAME ...] [--record] [--json]`.

Compare third-party servers with ours in one run. They are installed by exact version, take turns within each round,
and use the older protocol revision, which all of them support. `docs/benchmarks.md` defines each quantity.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import bars
from benchmarks.comparison import QUANTITIES, as_table, compared
from benchmarks.measure import Load, measure
from benchmarks.own import command
from benchmarks.peer import PEERS, Peer, installed
from benchmarks.plot import to_png
from benchmarks.record import RUNS, busy, keep
from benchmarks.report import where
from benchmarks.wire import BenchmarkError, Command, Era

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "pictures" / "benchmarks.png"
ERA: Era = "2025-11-25"
OURS, BARE = "machines-mcp", "bare MCPServer, one tool"
# Smaller than against the bare server, because one of them starts a program for each call.
LOAD = Load(lists=20, calls=50, burst=200, pings=500)


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="machines-peers-") as scratch:
        commands = [*_own(Path(scratch)), *_peers(Path(scratch), options.folder, options.only)]
        load = busy()
        ours, *others = measure(commands, ERA, options.runs, LOAD)
    figures = {"protocol": ERA, "runs": options.runs, "load": load, "servers": compared(ours, others)}
    if options.json:
        print(json.dumps({"where": where(), **figures}, indent=2))
    else:
        print(f"{where()}; protocol {ERA}; {options.runs} rounds\n\n{as_table(figures['servers'])}")
    if options.record:
        only = f" --only {shlex.join(options.only)}" if options.only else ""
        keep(RUNS, "peers", f"python -m benchmarks.peers --runs {options.runs}{only}", figures)
        to_png(picture(figures), PICTURE)
    return 0


def _own(scratch: Path) -> list[Command]:
    return [
        command(OURS, "machines_mcp", scratch / "ours"),
        command(BARE, "benchmarks.bare_server", scratch / "bare"),
    ]


def _peers(scratch: Path, folder: Path, only: list[str]) -> list[Command]:
    """Return the peers that can be installed here; print why the others can't."""
    found = []
    for peer in PEERS:
        if only and not any(name in peer.name for name in only):
            continue
        try:
            found.append(_tried(peer, folder, scratch))
        except BenchmarkError as error:
            print(error, file=sys.stderr)
    return found


def _tried(peer: Peer, folder: Path, scratch: Path) -> Command:
    print(f"installing {peer.title} ...", file=sys.stderr)
    return installed(peer, folder, scratch)


def picture(figures: dict[str, Any]) -> str:
    """Draw the chart as SVG."""
    panels = [
        bars.Bars(
            f"{quantity.name}, {quantity.unit}",
            "less is better" if quantity.less_is_better else "more is better",
            [(name, shown.get(quantity.key, {}).get("value")) for name, shown in figures["servers"].items()],
        )
        for quantity in QUANTITIES
    ]
    below = f"medians of {figures['runs']} rounds in one run; compare within a panel, not between runs"
    return bars.draw(_headline(figures["servers"]), below, panels)


def _headline(servers: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what the picture shows, in a sentence."""
    bare = servers.get(BARE, {})
    if "calls" not in bare or "bursts" not in bare:
        return f"{OURS} compared with other MCP servers"
    faster, more = bare["calls"]["ratio"], 1 / bare["bursts"]["ratio"]
    if faster < 1:
        return f"With all its checks, a call takes {1 / faster:.1f} times as long as on a bare SDK server"
    return f"With all its checks: {faster:.1f} times as fast as a bare SDK server, at {more:.1f} times the load"


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description="Compare the server with others.")
    parser.add_argument("--runs", type=int, default=5, help="rounds of each measurement (5)")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="only peers whose name contains this")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--record", action="store_true", help="save the run for docs/benchmarks.md, and draw its chart")
    parser.add_argument("--folder", type=Path, default=ROOT / ".venv" / "peers", help="where they are installed")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
