"""Draw line charts over time as SVG and convert them to PNG with Chromium, without a plotting library."""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH, HEIGHT, LEFT, RIGHT, TOP, GAP = 960, 210, 64, 190, 56, 46
# Distinguishable for people with colour blindness.
COLOURS = ("#0b6e99", "#d1495b", "#3a7d44", "#8f5fb7", "#b8860b")
START_SECONDS = 60


@dataclass(frozen=True)
class Line:
    """One line: its name and its points, by minute."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """Lines that share a scale, starting at zero."""

    title: str
    lines: Sequence[Line]


def draw(title: str, panels: Sequence[Panel], end: float) -> str:
    """Draw the panels below each other, from minute 0 to `end`."""
    tall = TOP + len(panels) * (HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{tall}" font-family="Inter, sans-serif"'
        ' font-size="13" fill="#222">',
        f'<rect width="{WIDTH}" height="{tall}" fill="#fff"/>',
        f'<text x="{LEFT}" y="26" font-size="17">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, TOP + number * (HEIGHT + GAP), end)
    return "\n".join([*parts, "</svg>"])


def _panel(panel: Panel, top: int, end: float) -> list[str]:
    high = _above(max((y for line in panel.lines for _, y in line.points), default=1.0))
    right, bottom = WIDTH - RIGHT, top + HEIGHT

    def place(x: float, y: float) -> str:
        return f"{LEFT + x / end * (right - LEFT):.1f},{bottom - y / high * (HEIGHT - 24):.1f}"

    parts = [f'<text x="{LEFT}" y="{top + 12}" font-weight="bold">{escape(panel.title)}</text>']
    for step in range(5):
        y = bottom - step / 4 * (HEIGHT - 24)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{high * step / 4:g}</text>')
        x = LEFT + step / 4 * (right - LEFT)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{end * step / 4:.3g} min</text>')
    for number, line in enumerate(panel.lines):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(place(x, y) for x, y in line.points)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        y = top + 34 + 20 * number
        parts.append(f'<path d="M{right + 14} {y - 4}h18" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{right + 38}" y="{y}">{escape(line.name)}</text>')
    return parts


def _above(value: float) -> float:
    """Return the next round number: 1, 2, 4, 5 or 8 times a power of ten."""
    if value <= 0:
        return 1.0
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(times * power for times in (1, 2, 4, 5, 8, 10) if times * power >= value)


def to_png(svg: str, file: Path) -> bool:
    """Render the SVG to `file` with Chromium. Without Chromium, save the SVG next to it and return False."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        file.with_suffix(".svg").write_text(svg, encoding="utf-8")
        return False
    tall = svg.partition('height="')[2].partition('"')[0]
    with tempfile.TemporaryDirectory(prefix="machines-plot-") as scratch:
        page, picture = Path(scratch) / "plot.html", Path(scratch) / "plot.png"
        page.write_text(f"<!doctype html><style>body{{margin:0}}</style>{svg}", encoding="utf-8")
        subprocess.run(
            [
                *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *(f"--user-data-dir={scratch}/profile", f"--window-size={WIDTH},{tall}"),
                *(f"--screenshot={picture}", page.as_uri()),
            ],
            check=True,
            capture_output=True,
            timeout=START_SECONDS,
        )
        shutil.copy(picture, file)
    return True
