"""Turn figures into rows: ours, the other's, the ratio or difference with its spread, and the aim."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Literal

from benchmarks.measure import Figures, Samples


@dataclass(frozen=True)
class Row:
    """One line of the report. `low` and `high` are the extremes over the rounds."""

    quantity: str
    unit: str
    ours: float
    other: float | None
    compared: float
    low: float | None
    high: float | None
    kind: Literal["ratio", "difference", "value"]
    bound: Literal["at most", "at least"] | None = None
    aim: float | None = None

    @property
    def met(self) -> bool | None:
        if self.aim is None:
            return None
        return self.compared <= self.aim if self.bound == "at most" else self.compared >= self.aim


def rows_beside_bare(ours: Figures, bare: Figures) -> list[Row]:
    """Compare the server with the bare one."""
    rows = [
        _ratio("start to the first response, median", "ms", ours.start, bare.start, 0.5, "at most", 0.90),
        _ratio("start to a tool's result, median", "ms", ours.first_calls, bare.first_calls, 0.5, "at most", 1.05),
        _ratio("tools/list, median", "ms", ours.lists, bare.lists, 0.5, "at most", 0.5),
        _ratio("local tool call, median", "ms", ours.calls, bare.calls, 0.5, "at most", 0.4),
        _ratio("local tool call, 99th percentile", "ms", ours.calls, bare.calls, 0.99),
        _ratio("calls per second, 50 in flight", "1/s", ours.bursts, bare.bursts, 0.5, "at least", 3.0),
    ]
    return rows + memory_rows("peak memory, local calls", ours.memory, bare.memory)


def memory_rows(quantity: str, ours: float | None, bare: float | None) -> list[Row]:
    """Compare peak memory; no row if the system does not report it."""
    if ours is None or bare is None:
        return []
    return [Row(quantity, "MB", ours, bare, ours / bare, None, None, "ratio", "at most", 1.10)]


def rows_beside_raw(tool: Samples, raw: Samples) -> list[Row]:
    """Return the time of a tool that reads upstream, minus the same round trip by a raw client."""
    return [_difference("get_balances less a raw httpx read, median", tool, raw, 0.8)]


def rows_beside_fsync(call: Samples, raw: Samples) -> list[Row]:
    """Return the time of a call that writes, minus one `fsync` in the same folder."""
    return [_difference("a write with audit less an fsync, median", call, raw, 1.0)]


def rows_by_size(filled: Samples, empty: Samples, count: int) -> list[Row]:
    """Return the time of a change and `status` with that many rows in each table, compared with an empty folder."""
    name = f"a change and status, {count:,} rows, median"
    return [_ratio(name, "ms", filled, empty, 0.5, "at most", 1.1)]


def cancellation_rows(taken: Samples) -> list[Row]:
    """Return how long cancelled calls took to stop. A bare server has no waits to compare with."""
    middle, tail, middles = taken.quantile(0.5), taken.quantile(0.99), taken.medians()
    name = "cancel to the end of a wait's poll"
    return [
        Row(f"{name}, median", "ms", middle, None, middle, min(middles), max(middles), "value"),
        Row(f"{name}, 99th percentile", "ms", tail, None, tail, None, None, "value", "at most", 100.0),
    ]


def _ratio(
    quantity: str,
    unit: str,
    ours: Samples,
    bare: Samples,
    share: float,
    bound: Literal["at most", "at least"] | None = None,
    aim: float | None = None,
) -> Row:
    one, other = ours.quantile(share), bare.quantile(share)
    ratios = [a / b for a, b in zip(ours.medians(), bare.medians(), strict=True)]
    if share != 0.5:  # a round has too few samples for a tail
        return Row(quantity, unit, one, other, one / other, None, None, "ratio", bound, aim)
    return Row(quantity, unit, one, other, one / other, min(ratios), max(ratios), "ratio", bound, aim)


def _difference(quantity: str, ours: Samples, raw: Samples, aim: float) -> Row:
    differences = [one - other for one, other in zip(ours.medians(), raw.medians(), strict=True)]
    one, other = ours.quantile(0.5), raw.quantile(0.5)
    low, high = min(differences), max(differences)
    return Row(quantity, "ms", one, other, one - other, low, high, "difference", "at most", aim)


def as_table(rows: Sequence[Row]) -> str:
    """Format as Markdown that also reads as a table on a terminal."""
    head = ["quantity", "unit", "ours", "other", "compared", "rounds", "target", ""]
    cells = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _cells(row: Row) -> list[str]:
    compared = {"ratio": f"{row.compared:.2f}", "difference": f"{row.compared:+.2f} ms", "value": ""}[row.kind]
    spread = "" if row.low is None else f"{row.low:.2f} to {row.high:.2f}"
    aim = "" if row.aim is None else f"{row.bound} {row.aim:.2f}"
    other = "" if row.other is None else _number(row.other)
    verdict = {True: "met", False: "missed", None: ""}[row.met]
    return [row.quantity, row.unit, _number(row.ours), other, compared, spread, aim, verdict]


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def as_json(rows: Sequence[Row], runs: int, era: str) -> str:
    listed = [{**asdict(row), "met": row.met} for row in rows]
    return json.dumps({"where": where(), "protocol": era, "runs": runs, "rows": listed}, indent=2)


def where() -> str:
    """Return the machine and the versions on one line."""
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"{system}, mcp {version('mcp')}, pydantic {version('pydantic')}"
