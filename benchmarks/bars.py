"""Draw bar charts that compare servers, with a panel per quantity, as SVG for `plot.to_png`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.plot import COLOURS, WIDTH

MARGIN, NAMES, VALUES, BAR, GAP, TOP = 24, 168, 76, 16, 8, 76
LONGEST = 26
OTHERS = "#b9c2c8"


@dataclass(frozen=True)
class Bars:
    """A panel: the quantity, which direction is better, and a value per server (None if it has none)."""

    title: str
    better: str
    values: Sequence[tuple[str, float | None]]


def draw(title: str, below: str, panels: Sequence[Bars]) -> str:
    """Draw the panels in two columns. The first server of each is ours and is highlighted."""
    column = (WIDTH - 3 * MARGIN) // 2
    tall = 44 + max(len(panel.values) for panel in panels) * (BAR + GAP) + GAP
    height = TOP + -(-len(panels) // 2) * tall
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="Inter, sans-serif"'
        ' font-size="12" fill="#222">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{MARGIN}" y="28" font-size="17">{escape(title)}</text>',
        f'<text x="{MARGIN}" y="48" fill="#666">{escape(below)}</text>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, MARGIN + number % 2 * (column + MARGIN), TOP + number // 2 * tall, column)
    return "\n".join([*parts, "</svg>"])


def _panel(panel: Bars, left: int, top: int, wide: int) -> list[str]:
    most = max((value for _, value in panel.values if value), default=1.0)
    room = wide - NAMES - VALUES
    parts = [
        f'<text x="{left}" y="{top + 14}" font-size="13" font-weight="bold">{escape(panel.title)}</text>',
        f'<text x="{left + wide}" y="{top + 14}" text-anchor="end" fill="#666">{escape(panel.better)}</text>',
    ]
    for number, (name, value) in enumerate(panel.values):
        y = top + 26 + number * (BAR + GAP)
        weight = ' font-weight="bold"' if number == 0 else ""
        parts.append(f'<text x="{left}" y="{y + 12}"{weight}>{escape(_fitting(name))}</text>')
        long = 0.0 if value is None else max(1.0, value / most * room)
        colour = COLOURS[0] if number == 0 else OTHERS
        parts.append(f'<rect x="{left + NAMES}" y="{y}" width="{long:.1f}" height="{BAR}" fill="{colour}"/>')
        shown = "nothing to call offline" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.2f}"
        fill = ' fill="#666"' if value is None else ""
        parts.append(f'<text x="{left + NAMES + long + 6:.1f}" y="{y + 12}"{fill}>{shown}</text>')
    return parts


def _fitting(name: str) -> str:
    """Return a package's name without its scope, and without its version if that does not fit."""
    plain = name.rpartition("/")[2]
    return plain if len(plain) <= LONGEST else plain.partition(" ")[0]
