"""Generate the matrix of docs/clients.md from docs/clients.json, which `python -m tests.peers` writes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "clients.md"
KEPT = ROOT / "docs" / "clients.json"
_PART = re.compile(r"(<!-- matrix: made by `make docs` -->\n).*?(<!-- /matrix -->)", re.DOTALL)
# Every other cell gets a footnote with the reason.
_NOTES = {
    "not in this era": "not in this era",
    "not offered by the client": "not offered",
    "no": "**no**",
}


def matrix(kept: Mapping[str, Mapping[str, str]]) -> str:
    """Return a row per feature, a column per client and era, and the footnotes."""
    features = list(next(iter(kept.values())))
    notes: list[str] = []
    lines = [_row(["", *(name.replace(", ", "<br>") for name in kept)]), _row(["---"] * (len(kept) + 1))]
    for feature in features:
        cells = [_cell(feature, name, row[feature], notes) for name, row in kept.items()]
        lines.append(_row([feature, *cells]))
    return "\n".join([*lines, "", *(f"{number}. {note}" for number, note in enumerate(notes, 1))]) + "\n"


def _cell(feature: str, name: str, value: str, notes: list[str]) -> str:
    if value == "yes":
        return "yes"
    note = _why(feature, name, value)
    if note not in notes:
        notes.append(note)
    return f"{_NOTES[value]} ({notes.index(note) + 1})"


def _why(feature: str, name: str, value: str) -> str:
    if value == "not in this era":
        return {
            "ping": "2026-07-28 has no `ping`.",
            "lists marked private": "Cache hints on results exist from 2026-07-28 on.",
        }[feature]
    if "approval.required" in feature:
        return "This client has a dialog, which is used instead."
    if "Inspector" in name:
        return "The Inspector's command line has no method for it, has no dialogs, or does not print it."
    return "The client has no call for it."


def page() -> str:
    """Return the whole page with a new matrix."""
    made = matrix(json.loads(KEPT.read_text(encoding="utf-8")))
    text, found = _PART.subn(lambda match: f"{match[1]}{made}{match[2]}", PAGE.read_text(encoding="utf-8"))
    if found != 1:
        raise ValueError("docs/clients.md has no place for the matrix")
    return text


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
