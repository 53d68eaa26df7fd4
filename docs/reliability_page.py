"""Makes the tables of docs/reliability.md of the runs that were kept in docs/reliability.json."""

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

Run = Mapping[str, Any]


def runs() -> dict[str, Run]:
    """The runs that were kept, by name."""
    sys.path.insert(0, str(ROOT))
    from benchmarks.record import kept

    return dict(kept(RUNS))


def crashes(known: Mapping[str, Run]) -> str:
    """A row per way to run the crash loop, its runs by all seeds together: what was tried, and what must not be."""
    found = {name: run for name, run in known.items() if name.startswith("crashes")}
    if not found:
        return "No run was kept yet.\n"
    head = ["run", "kills", "wishes", "crossed by a kill", *_BAD, "for a person"]
    lines = [_row(head), _row(["---"] * len(head))]
    for way, figures in _by_way(found).items():
        tried = [figures["kills"], figures["wishes"], figures["crossed"]]
        bad = [_beside(figures[what], figures["kills"]) for what in _BAD]
        lines.append(_row([way or "any moment", *(f"{count:,}" for count in tried), *bad, f"{figures['manual']:,}"]))
    lines += ["", *(f"- {name}: `{run['command']}` on {run['where']}" for name, run in found.items())]
    worst = max(run["figures"]["drained"] for run in found.values() if not run["figures"]["unsettled"])
    lines += ["", f"The longest that anything took to be resolved after the last restart: {worst:.1f} s."]
    return "\n".join(lines) + "\n"


def _by_way(found: Mapping[str, Run]) -> dict[str, Counter[str]]:
    """The sums of the figures of runs that differ in their seed alone, by what else was asked for, nothing first."""
    sums: dict[str, Counter[str]] = {}
    for name, run in found.items():
        way = _SEED.sub("", name).removeprefix("crashes").removeprefix(", ")
        for what in ("kills", "wishes", "crossed", *_BAD, "manual"):
            sums.setdefault(way, Counter())[what] += run["figures"][what]
    return dict(sorted(sums.items()))


def points(known: Mapping[str, Run]) -> str:
    """Kills by the labelled point that was passed last, all runs with the journal together."""
    phases: dict[str, int] = {}
    meant: dict[str, int] = {}
    for name, run in known.items():
        if name.startswith("crashes") and "no journal" not in name:
            for total, part in ((phases, "phases"), (meant, "at_points")):
                for point, count in run["figures"][part].items():
                    total[point] = total.get(point, 0) + count
    if not phases:
        return "No run was kept yet.\n"
    lines = [_row(["last point passed", "kills", "of which at the point itself"]), _row(["---"] * 3)]
    for point, count in sorted(phases.items(), key=lambda each: (-each[1], each[0])):
        lines.append(_row([point if " " in point else f"`{point}`", f"{count:,}", f"{meant.get(point, 0):,}"]))
    return "\n".join(lines) + "\n"


def ways(known: Mapping[str, Run]) -> str:
    """How requests came to their end that did not end at their first answer, all runs with the journal together."""
    total: dict[str, int] = {}
    for name, run in known.items():
        if name.startswith("crashes") and "no journal" not in name:
            for way, count in run["figures"]["ways"].items():
                total[way] = total.get(way, 0) + count
    if not total:
        return "No run was kept yet.\n"
    plain = sum(count for way, count in total.items() if way.endswith(": done"))
    lines = [f"{plain:,} requests had their answer at once. Of the others:", ""]
    lines += [_row(["request", "end", "how often"]), _row(["---"] * 3)]
    for way, count in sorted(total.items(), key=lambda each: (-each[1], each[0])):
        request, _, end = way.partition(": ")
        if end != "done":
            lines.append(_row([f"`{request}`", end, f"{count:,}"]))
    return "\n".join(lines) + "\n"


def soak(known: Mapping[str, Run]) -> str:
    """What the soak showed, and its picture."""
    run = known.get("soak")
    if run is None:
        return "No run was kept yet.\n"
    figures = run["figures"]
    errors = ", ".join(f"`{code}` {count:,}" for code, count in figures["errors"].items()) or "none"
    lines = [
        f"`{run['command']}` on {run['where']}: {figures['calls']:,} calls, {figures['armed']:,} faults.",
        "",
        _row(["quantity", "value"]),
        _row(["---", "---"]),
        _row(["time to the answer, median", f"{figures['p50']:.1f} ms"]),
        _row(["time to the answer, 99th percentile", f"{figures['p99']:.1f} ms"]),
        _row(["processor time for a call", f"{figures['cpu']:.1f} ms"]),
        _row(["resident memory after a quarter of the time", f"{figures['memory_first']:.1f} MB"]),
        _row(["resident memory at the end", f"{figures['memory_last']:.1f} MB"]),
        _row(["slope of the line between", f"{figures['slope']:+.2f} MB an hour"]),
        _row(["calls in doubt at first", f"{figures['in_doubt']:,}"]),
        _row(["of which settled by the repeated call", f"{figures['settled']:,}"]),
        _row(["errors", errors]),
        "",
        f"![Memory, times and errors over the soak]({PICTURE})",
    ]
    return "\n".join(lines) + "\n"


def page() -> str:
    """The whole document, its generated parts made anew."""
    text, known = PAGE.read_text(encoding="utf-8"), runs()
    for part in (crashes, points, ways, soak):
        name, made = part.__name__, part(known)
        start = _PART.format(name)
        pattern = re.compile(rf"({re.escape(start)}).*?(<!-- /{name} -->)", re.DOTALL)
        text, found = pattern.subn(lambda match, made=made: f"{match[1]}{made}{match[2]}", text)  # type: ignore[misc]
        if found != 1:
            raise ValueError(f"docs/reliability.md has no place for {name}")
    return text


def _beside(count: int, tries: int) -> str:
    """A count; a zero with what it says of so many tries."""
    return f"**{count:,}**" if count else f"0 (< {300 / tries:.2g} %)"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
