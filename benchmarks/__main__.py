"""The command: `python -m benchmarks [--runs N] [--era ERA] [--json] [--write FILE] [--noise]`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks import report
from benchmarks.cancel import HoldingUpstream, measure_cancellation
from benchmarks.measure import measure
from benchmarks.upstream import USER, Sandbox, measure_reads
from benchmarks.wire import ERAS, Command, Era

ROOT = Path(__file__).parents[1]


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="machines-benchmarks-") as scratch:
        rows = _rows(Path(scratch), options.era, options.runs, noise=options.noise)
    if options.json:
        print(report.as_json(rows, options.runs, options.era))
        return 0
    text = f"{report.where()}; protocol {options.era}; {options.runs} rounds\n\n{report.as_table(rows)}\n"
    print(text)
    if options.write:
        options.write.write_text(f"# Benchmarks\n\n{_PREFACE}\n\n{text}", encoding="utf-8")
    return 0


def _rows(scratch: Path, era: Era, runs: int, *, noise: bool) -> list[report.Row]:
    bare = _command("bare", "benchmarks.bare_server", scratch / "bare")
    if noise:
        again = _command("bare again", "benchmarks.bare_server", scratch / "bare")
        return [replace(row, aim=None) for row in report.rows_beside_bare(*measure([again, bare], era, runs))]
    ours, beside = measure([_command("ours", "machines_mcp", scratch / "embedded"), bare], era, runs)
    rows = report.rows_beside_bare(ours, beside)
    with Sandbox() as sandbox:
        reading = _command(
            "ours", "machines_mcp", scratch / "sandbox", **_upstream(sandbox.base_url, sandbox.partner_key)
        )
        tool, raw, memory = measure_reads(reading, sandbox, era, runs)
    rows += report.memory_rows("peak memory, calls upstream", memory, beside.memory)
    rows += report.rows_beside_raw(tool, raw)
    with HoldingUpstream() as holding:
        waiting = _command("ours", "machines_mcp", scratch / "holding", **_upstream(holding.base_url, "key-of-nothing"))
        return rows + report.cancellation_rows(measure_cancellation(waiting, holding, era, runs))


def _upstream(base_url: str, partner_key: str) -> dict[str, str]:
    """The settings of a server over an API on loopback."""
    return {
        "MACHINES_ENV": "sandbox",
        "MACHINES_API_URL": base_url,
        "MACHINES_PARTNER_KEY": partner_key,
        "MACHINES_USER_ID": USER,
    }


def _command(name: str, module: str, home: Path, **settings: str) -> Command:
    """Both servers run on this interpreter, with a home of their own and none of the caller's settings."""
    home.mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": os.defpath,
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "MACHINES_STATE_DIR": str(home / "state"),
        **settings,
    }
    return Command(name, (sys.executable, "-m", module), environment)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the server beside a bare one.")
    parser.add_argument("--runs", type=int, default=10, help="rounds of each measurement (10)")
    parser.add_argument("--era", choices=ERAS, default=ERAS[0], help=f"protocol revision to speak ({ERAS[0]})")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the table there too")
    parser.add_argument("--noise", action="store_true", help="the bare server on both sides: what chance alone does")
    return parser.parse_args()


_PREFACE = """\
The server beside a bare one-tool `MCPServer` of the SDK, and a reading tool beside a raw `httpx` round trip, in the
same run: the two take turns, so compare within a row and not between runs. `rounds` is the range of the single rounds.
What is cancelled stands beside nothing: a bare server has nothing to wait for.
Written by `python -m benchmarks --write docs/benchmarks.md`; `benchmarks/` says how each figure is taken."""


if __name__ == "__main__":
    sys.exit(main())
