"""Compare several servers with ours: medians over the rounds, and ratios within each round."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.measure import Figures, Samples

BYTES_PER_TOKEN = 4


@dataclass(frozen=True)
class Quantity:
    """A compared quantity: its key in the record, its name, its unit, and whether less is better."""

    key: str
    name: str
    unit: str
    less_is_better: bool = True


QUANTITIES = (
    Quantity("start", "start to the first response", "ms"),
    Quantity("lists", "tools/list", "ms"),
    Quantity("calls", "a cheap call", "ms"),
    Quantity("bursts", "calls, 50 in flight", "1/s", less_is_better=False),
    Quantity("pings", "pings, 50 in flight", "1/s", less_is_better=False),
    Quantity("memory", "peak memory", "MB"),
    Quantity("tokens", "tokens of tools/list", "tokens"),
)


def compared(ours: Figures, others: Sequence[Figures]) -> dict[str, dict[str, Any]]:
    """Return by server, ours first: `tools`, and each quantity's `value` and (for others) `ratio` to ours and range.

    Quantities that a server doesn't have are left out. A ratio is the median of the rounds' own ratios; memory and
    tokens are one value for all rounds.
    """
    return {figures.command.name: _shown(figures, ours) for figures in (ours, *others)}


def _shown(figures: Figures, ours: Figures) -> dict[str, Any]:
    shown: dict[str, Any] = {"tools": figures.tools}
    for quantity in QUANTITIES:
        one, base = _rounds(figures, quantity.key), _rounds(ours, quantity.key)
        if not one or not base:
            continue
        cell = {"value": statistics.median(one)}
        if figures is not ours:
            ratios = [a / b for a, b in zip(one, base, strict=True)]
            cell |= {"ratio": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
        shown[quantity.key] = cell
    return shown


def _rounds(figures: Figures, key: str) -> list[float]:
    """Return the value of each round."""
    if key == "tokens":
        return [figures.listed / BYTES_PER_TOKEN]
    if key == "memory":
        return [] if figures.memory is None else [figures.memory]
    samples: Samples = getattr(figures, key)
    return samples.medians()


def as_table(servers: Mapping[str, Mapping[str, Any]]) -> str:
    """Format as Markdown: a row per server, a column per quantity, the ratio to ours in brackets."""
    head = ["server", "tools", *(f"{quantity.name}, {quantity.unit}" for quantity in QUANTITIES)]
    lines = [_row(head), _row(["---"] * len(head))]
    for name, shown in servers.items():
        lines.append(_row([name, str(shown["tools"]), *(_cell(shown.get(each.key)) for each in QUANTITIES)]))
    return "\n".join(lines)


def _cell(cell: Mapping[str, float] | None) -> str:
    if cell is None:
        return "—"
    ratio = f" ({_short(cell['ratio'])} x)" if "ratio" in cell else ""
    return _short(cell["value"]) + ratio


def _short(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
