"""The command: `python -m benchmarks [--runs N] [--era ERA] [--json] [--record] [--noise]`. Without ERA, in both."""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks import report
from benchmarks.cancel import HoldingUpstream, measure_cancellation
from benchmarks.measure import measure
from benchmarks.own import command
from benchmarks.record import RUNS, busy, keep
from benchmarks.rows import ROWS, measure_rows
from benchmarks.upstream import USER, Sandbox, measure_reads
from benchmarks.wire import ERAS, Era
from benchmarks.writes import measure_writes


def main() -> int:
    options = _options()
    for era in [options.era] if options.era else ERAS:
        _run(era, options)
    return 0


def _run(era: Era, options: argparse.Namespace) -> None:
    load = busy()
    with tempfile.TemporaryDirectory(prefix="machines-benchmarks-") as scratch:
        rows = _rows(Path(scratch), era, options.runs, noise=options.noise)
    if options.json:
        print(report.as_json(rows, options.runs, era))
    else:
        print(f"{report.where()}; protocol {era}; {options.runs} rounds\n\n{report.as_table(rows)}\n")
    if options.record:
        figures = {"protocol": era, "runs": options.runs, "load": load, "rows": [asdict(row) for row in rows]}
        keep(RUNS, f"bare {era}", f"python -m benchmarks --runs {options.runs} --era {era}", figures)


def _rows(scratch: Path, era: Era, runs: int, *, noise: bool) -> list[report.Row]:
    bare = command("bare", "benchmarks.bare_server", scratch / "bare")
    if noise:
        again = command("bare again", "benchmarks.bare_server", scratch / "bare")
        return [replace(row, aim=None) for row in report.rows_beside_bare(*measure([again, bare], era, runs))]
    ours, beside = measure([command("ours", "machines_mcp", scratch / "embedded"), bare], era, runs)
    rows = report.rows_beside_bare(ours, beside)
    with Sandbox() as sandbox:
        reading = command(
            "ours", "machines_mcp", scratch / "sandbox", **_upstream(sandbox.base_url, sandbox.partner_key)
        )
        tool, raw, memory = measure_reads(reading, sandbox, era, runs)
    rows += report.memory_rows("peak memory, calls upstream", memory, beside.memory)
    rows += report.rows_beside_raw(tool, raw)
    rows += report.rows_beside_fsync(*measure_writes(scratch, era, runs))
    rows += report.rows_by_size(*measure_rows(scratch / "rows", era, runs), ROWS)
    with HoldingUpstream() as holding:
        waiting = command("ours", "machines_mcp", scratch / "holding", **_upstream(holding.base_url, "key-of-nothing"))
        return rows + report.cancellation_rows(measure_cancellation(waiting, holding, era, runs))


def _upstream(base_url: str, partner_key: str) -> dict[str, str]:
    """Return the settings of a server that calls an API on loopback."""
    return {
        "MACHINES_ENV": "sandbox",
        "MACHINES_API_URL": base_url,
        "MACHINES_PARTNER_KEY": partner_key,
        "MACHINES_USER_ID": USER,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compare the server with a bare one.")
    parser.add_argument("--runs", type=int, default=10, help="rounds of each measurement (10)")
    parser.add_argument("--era", choices=ERAS, help="protocol revision to speak (each)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--record", action="store_true", help="save the run for docs/benchmarks.md")
    parser.add_argument("--noise", action="store_true", help="measure the bare server on both sides, to show the noise")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
