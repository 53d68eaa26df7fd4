"""Compute the bar chart of daily payouts and the daily limit, as coordinates for an SVG template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from machines_mcp.permissions.daily_totals import DailyTotal

_TOP, _BOTTOM, _LEFT, _RIGHT = 26.0, 34.0, 48.0, 4.0
_TICKS = 4


@dataclass(frozen=True, slots=True)
class Bar:
    """One day: `height` shows paid out, `pending_height` pending amounts. `over` means above the limit."""

    label: str
    x: float
    middle: float
    width: float
    y: float
    height: float
    pending_y: float
    pending_height: float
    over: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of `width` by `height` SVG units. `cap_y` is the y of the limit line, None without a limit."""

    width: int
    height: int
    floor: float
    bars: tuple[Bar, ...]
    cap_y: float | None
    top_cents: int
    left: float
    ticks: tuple[tuple[float, int], ...]
    """The y of each line of the scale, and its amount in cents."""


def build_chart(days: Sequence[DailyTotal], cap_cents: int | None, *, width: int, height: int) -> Chart:
    """Return the chart for these days. Its scale runs from 0 to at least the highest bar and the limit."""
    highest = max([cap_cents or 0, *(day.cents + day.open_cents for day in days)])
    top = _round_up(highest)
    floor, room = height - _BOTTOM, height - _TOP - _BOTTOM
    step = (width - _LEFT - _RIGHT) / len(days)
    bars = []
    for number, day in enumerate(days):
        tall, more = _share(day.cents, top) * room, _share(day.open_cents, top) * room
        x = _LEFT + step * (number + 0.16)
        bars.append(
            Bar(
                label=_bar_label(day, last=number == len(days) - 1),
                x=round(x, 1),
                middle=round(x + step * 0.34, 1),
                width=round(step * 0.68, 1),
                y=round(floor - tall, 1),
                height=round(tall, 1),
                pending_y=round(floor - tall - more, 1),
                pending_height=round(more, 1),
                over=cap_cents is not None and day.cents > cap_cents,
            )
        )
    cap_y = None if cap_cents is None else round(floor - _share(cap_cents, top) * room, 1)
    ticks = tuple((round(floor - room * n / _TICKS, 1), top * n // _TICKS) for n in range(_TICKS + 1))
    return Chart(width, height, floor, tuple(bars), cap_y, top, _LEFT, ticks)


def _share(cents: int, top: int) -> float:
    return cents / top if top else 0.0


def _round_up(cents: int) -> int:
    """Round up to 1, 2 or 5 times a power of ten, for a readable scale."""
    step = 100
    while True:
        for factor in (1, 2, 5):
            if cents <= factor * step:
                return factor * step
        step *= 10


def _bar_label(day: DailyTotal, *, last: bool) -> str:
    then = datetime.fromtimestamp(day.begins, UTC)
    return "Today" if last else f"{then.day} {then:%b}"
