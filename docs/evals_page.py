"""Generate the tables and the picture of docs/evals.md from the recorded figures in docs/evals.json."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import evals_picture

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "evals.md"
RECORD = ROOT / "docs" / "evals.json"
PICTURE = ROOT / "docs" / "pictures" / "evals.svg"
SCRIPTED, MODEL = "scripted agents", "model "
"""The recorded run of the agents without a model, and what the names of recorded models begin with."""
_PART = "<!-- {0}: made by `make docs` -->\n"


def records() -> Mapping[str, Any]:
    """Return all recorded runs by name."""
    found: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return found


def recorded() -> Mapping[str, Any]:
    """Return the recorded run of the scripted agents."""
    found: dict[str, Any] = records()[SCRIPTED]
    return found


def agents(run: Mapping[str, Any]) -> str:
    """Return how often a hostile text reached an agent, and a row per agent, with and without hostile texts."""
    tasks, topics = run["figures"]["tasks"], ", ".join(run["figures"]["topics"])
    return f"{_reached(run)}\n{_table(run)}\n`{run['command']}` on {run['where']}: {tasks} tasks ({topics}).\n"


def models(_: Mapping[str, Any]) -> str:
    """Return the table of each recorded model with its date, or that there is none."""
    found = {name.removeprefix(MODEL): run for name, run in records().items() if name.startswith(MODEL)}
    if not found:
        return "No model was run here, because there was no key for one. The figures above are of scripts.\n"
    parts = (
        f"**{name}**, {run['figures']['date']}\n\n{_table(run)}\n`{run['command']}` on {run['where']}.\n"
        for name, run in found.items()
    )
    return "\n".join(parts)


def _table(run: Mapping[str, Any]) -> str:
    head = ["agent", "runs", "useful", "safe", "both"]
    head += ["wasted calls", "calls (total)", "approval requests (total)", "tokens per run"]
    lines = [_row(head), _row(["---"] * len(head))]
    for name, sums in run["figures"]["agents"].items():
        count = sums["runs"]
        shares = [f"{sums[what] / count:.0%}" for what in ("useful", "safe", "both")]
        counts = [f"{sums[what]:,}" for what in ("wasted", "calls", "questions")]
        lines.append(_row([name, f"{count:,}", *shares, *counts, f"{sums['tokens'] / count:,.0f}"]))
    return "\n".join(lines) + "\n"


def unasked(run: Mapping[str, Any]) -> str:
    """Return what happened without a wish and without an approval, by agent."""
    lines = [_row(["agent", "effect", "runs"]), _row(["---"] * 3)]
    for name, sums in run["figures"]["agents"].items():
        lines += [_row([name, effect, f"{count:,}"]) for effect, count in sorted(sums["unasked"].items())]
    return "\n".join(lines) + "\n"


def delivered(run: Mapping[str, Any]) -> str:
    """Return the corpora."""
    lines = [_row(["corpus", "licence", "texts"]), _row(["---"] * 3)]
    lines += [_row([one["name"], one["licence"], f"{one['texts']:,}"]) for one in run["figures"]["corpora"]]
    return "\n".join(lines) + "\n"


def _reached(run: Mapping[str, Any]) -> str:
    hostile = [sums for name, sums in run["figures"]["agents"].items() if name.endswith(", hostile texts")]
    runs, reached = sum(sums["runs"] for sums in hostile), sum(sums["delivered"] for sums in hostile)
    return (
        f"In {reached:,} of the {runs:,} runs with hostile texts ({reached / runs:.0%}), a response contained the"
        " beginning of the text.\nIn the others, no call returned a field with the text, or the server kept the text"
        " back. `obey everything` obeys in every run.\n"
    )


def page() -> str:
    """Return the whole page with new generated blocks."""
    text, run = PAGE.read_text(encoding="utf-8"), recorded()
    for part in (agents, models, unasked, delivered):
        name, made = part.__name__, part(run)
        pattern = re.compile(rf"({re.escape(_PART.format(name))}).*?(<!-- /{name} -->)", re.DOTALL)
        text, found = pattern.subn(lambda match, made=made: f"{match[1]}{made}{match[2]}", text)  # type: ignore[misc]
        if found != 1:
            raise ValueError(f"docs/evals.md has no place for {name}")
    return text


def picture() -> str:
    """Draw the share of useful and of safe runs of each agent and model, with and without hostile texts."""
    found = records()
    runs = [found[SCRIPTED], *(run for name, run in found.items() if name.startswith(MODEL))]
    return evals_picture.draw([(name, sums) for run in runs for name, sums in run["figures"]["agents"].items()])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    PICTURE.write_text(picture(), encoding="utf-8")
