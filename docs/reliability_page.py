"""Generate the tables of docs/reliability.md from the recorded runs in docs/reliability.json."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
RUNS = ROOT / "docs" / "reliability.json"
PICTURE = "pictures/soak.png"
_PART = "<!-- {0}: made by `make docs` -->\n"
_SEED = re.compile(r", seed \d+$")
_BAD = ("lost", "doubled", "denied", "wrong", "unsettled", "leaked")
# How a journal entry ended, as the runs store it and as the page says it.
_OUTCOMES = {"sent again": "resent", "settled by server": "reconciled", "manual": "needs a person"}

Run = Mapping[str, Any]


def runs() -> dict[str, Run]:
    """Return the recorded runs by name."""
    sys.path.insert(0, str(ROOT))
    from benchmarks.record import kept

    return dict(kept(RUNS))


def crashes(known: Mapping[str, Run]) -> str:
    """Return a row per variant of the crash loop, with the runs of all seeds added up."""
    found = {name: run for name, run in known.items() if name.startswith("crashes")}
    if not found:
        return "No run has been recorded yet.\n"
    head = ["run", "kills", "operations", "interrupted by a kill", *_BAD, "for a person"]
    lines = [_row(head), _row(["---"] * len(head))]
    for way, figures in _by_way(found).items():
        tried = [figures["kills"], figures["wishes"], figures["crossed"]]
        bad = [_beside(figures[what], figures["kills"]) for what in _BAD]
        lines.append(_row([way or "any moment", *(f"{count:,}" for count in tried), *bad, f"{figures['manual']:,}"]))
    lines += ["", *(f"- {name}: `{run['command']}` on {run['where']}" for name, run in found.items())]
    worst = max(run["figures"]["drained"] for run in found.values() if not run["figures"]["unsettled"])
    lines += ["", f"The longest reconciliation after the last restart took {worst:.1f} s."]
    return "\n".join(lines) + "\n"


def _by_way(found: Mapping[str, Run]) -> dict[str, Counter[str]]:
    """Add up the runs that differ only in their seed, by variant. The plain variant comes first."""
    sums: dict[str, Counter[str]] = {}
    for name, run in found.items():
        way = _SEED.sub("", name).removeprefix("crashes").removeprefix(", ")
        for what in ("kills", "wishes", "crossed", *_BAD, "manual"):
            sums.setdefault(way, Counter())[what] += run["figures"][what]
    return dict(sorted(sums.items()))


def failpoints(known: Mapping[str, Run]) -> str:
    """Return the kills by the last failpoint reached, over all runs with the journal."""
    phases: dict[str, int] = {}
    meant: dict[str, int] = {}
    for name, run in known.items():
        if name.startswith("crashes") and "no journal" not in name:
            for total, part in ((phases, "phases"), (meant, "at_points")):
                for point, count in run["figures"][part].items():
                    total[point] = total.get(point, 0) + count
    if not phases:
        return "No run has been recorded yet.\n"
    lines = [_row(["last failpoint reached", "kills", "kills planned at it"]), _row(["---"] * 3)]
    for point, count in sorted(phases.items(), key=lambda each: (-each[1], each[0])):
        lines.append(_row([point if " " in point else f"`{point}`", f"{count:,}", f"{meant.get(point, 0):,}"]))
    return "\n".join(lines) + "\n"


def outcomes(known: Mapping[str, Run]) -> str:
    """Return the outcomes of requests whose first response was lost, over all runs with the journal."""
    total: dict[str, int] = {}
    for name, run in known.items():
        if name.startswith("crashes") and "no journal" not in name:
            for way, count in run["figures"]["outcomes"].items():
                total[way] = total.get(way, 0) + count
    if not total:
        return "No run has been recorded yet.\n"
    plain = sum(count for way, count in total.items() if way.endswith(": done"))
    lines = [f"{plain:,} requests got their response at once. The others:", ""]
    lines += [_row(["request", "outcome", "count"]), _row(["---"] * 3)]
    for way, count in sorted(total.items(), key=lambda each: (-each[1], each[0])):
        request, _, end = way.partition(": ")
        if end != "done":
            lines.append(_row([f"`{request}`", _in_words(end), f"{count:,}"]))
    return "\n".join(lines) + "\n"


def _in_words(end: str) -> str:
    for stored, shown in _OUTCOMES.items():
        end = end.replace(stored, shown)
    return end


def soak(known: Mapping[str, Run]) -> str:
    """Return the figures of the soak test, and its picture."""
    run = known.get("soak")
    if run is None:
        return "No run has been recorded yet.\n"
    figures = run["figures"]
    errors = ", ".join(f"`{code}` {count:,}" for code, count in figures["errors"].items()) or "none"
    lines = [
        f"`{run['command']}` on {run['where']}: {figures['calls']:,} calls, {figures['armed']:,} faults.",
        "",
        _row(["quantity", "value"]),
        _row(["---", "---"]),
        _row(["response time, median", f"{figures['p50']:.1f} ms"]),
        _row(["response time, 99th percentile", f"{figures['p99']:.1f} ms"]),
        _row(["CPU time per call", f"{figures['cpu']:.1f} ms"]),
        _row(["resident memory after a quarter of the run", f"{figures['memory_first']:.1f} MB"]),
        _row(["resident memory at the end", f"{figures['memory_last']:.1f} MB"]),
        _row(["growth between the two", f"{figures['slope']:+.2f} MB per hour"]),
        _row(["calls with an unknown outcome at first", f"{figures['unknown_at_first']:,}"]),
        _row(["of these, reconciled by the repeated call", f"{figures['settled']:,}"]),
        _row(["errors", errors]),
        "",
        f"![Memory, response times and errors during the soak test]({PICTURE})",
    ]
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return the whole page with new generated blocks."""
    text, known = PAGE.read_text(encoding="utf-8"), runs()
    for part in (crashes, failpoints, outcomes, soak):
        name, made = part.__name__, part(known)
        start = _PART.format(name)
        pattern = re.compile(rf"({re.escape(start)}).*?(<!-- /{name} -->)", re.DOTALL)
        text, found = pattern.subn(lambda match, made=made: f"{match[1]}{made}{match[2]}", text)  # type: ignore[misc]
        if found != 1:
            raise ValueError(f"docs/reliability.md has no place for {name}")
    return text


def _beside(count: int, tries: int) -> str:
    """Format a count; a zero shows the upper bound of its rate in percent, at 95 % confidence."""
    return f"**{count:,}**" if count else f"0 (< {300 / tries:.2g} %)"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
