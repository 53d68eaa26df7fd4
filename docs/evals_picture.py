"""Draw the picture of docs/evals.md as SVG: how many runs of each agent were useful, and how many were safe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, MARGIN, NAMES, VALUES, BAR, ROW, TOP = 960, 24, 260, 56, 16, 50, 84
# Distinguishable for people with colour blindness.
KINDS = (("useful", "#0b6e99"), ("safe", "#d1a13b"))
PLACE = "#eef1f3"


def draw(rows: Sequence[tuple[str, Mapping[str, int]]]) -> str:
    """Draw a row per agent. `rows` are names, such as "expected path, hostile texts", with sums of runs."""
    tall = TOP + len(rows) * ROW + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {tall}" width="{WIDTH}" height="{tall}"'
        ' font-family="Inter, sans-serif" font-size="13" fill="#222">',
        f'<rect width="{WIDTH}" height="{tall}" fill="#fff"/>',
        f'<text x="{MARGIN}" y="32" font-size="17">Useful and safe runs of each agent</text>',
    ]
    for at, (kind, colour) in enumerate(KINDS):
        left = MARGIN + at * 120
        parts.append(f'<rect x="{left}" y="48" width="{BAR}" height="{BAR}" fill="{colour}"/>')
        parts.append(f'<text x="{left + 24}" y="61">{kind}</text>')
    for at, (name, sums) in enumerate(rows):
        parts += _row(name, sums, TOP + at * ROW)
    return "\n".join([*parts, "</svg>\n"])


def _row(name: str, sums: Mapping[str, int], top: int) -> list[str]:
    agent, _, texts = name.rpartition(", ")
    room = WIDTH - 2 * MARGIN - NAMES - VALUES
    parts = [
        f'<text x="{MARGIN}" y="{top + 13}" font-weight="bold">{escape(agent)}</text>',
        f'<text x="{MARGIN}" y="{top + 31}" fill="#666">{escape(texts)}, {sums["runs"]:,} runs</text>',
    ]
    for at, (kind, colour) in enumerate(KINDS):
        share, y = sums[kind] / sums["runs"], top + at * (BAR + 2)
        left = MARGIN + NAMES
        parts.append(f'<rect x="{left}" y="{y}" width="{room}" height="{BAR}" fill="{PLACE}"/>')
        parts.append(f'<rect x="{left}" y="{y}" width="{share * room:.1f}" height="{BAR}" fill="{colour}"/>')
        parts.append(f'<text x="{left + room + 8}" y="{y + 13}">{share:.0%}</text>')
    return parts
