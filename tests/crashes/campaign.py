"""A run: segments side by side over one sandbox, until so many servers were killed; then upstream is asked."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crashes.aftermath import Aftermath
from tests.crashes.deaths import Deaths, Plan
from tests.crashes.judge import Verdict, judge
from tests.crashes.judge import lines as verdict_lines
from tests.crashes.life import nursery
from tests.crashes.segment import SETTLED_WITHIN, Segment
from tests.crashes.upstream import upstream
from tests.crashes.wishes import names

POINTS = (
    *("approval.opened", "approval.granted", "approval.consumed", "quote.used", "journal.begun", "request.sent"),
    *("request.answered", "journal.ended", "outcome.kept", "audit.appended", "withdrawal.recorded", "vault.started"),
    *("reveal.taken", "reveal.finished", "settling.begun", "settling.ended"),
)
SEGMENT_KILLS = 30
# Segments that run side by side: one waits, at its end, while the others' servers are busy.
AT_ONCE = 4


@dataclass
class Report:
    """What a run did and found."""

    seed: int
    options: str
    seconds: float = 0.0
    segments: int = 0
    drained: float = 0.0
    """The longest time after the last start until all was resolved or a person's, in seconds."""
    calls: int = 0
    cut: int = 0
    """Calls of something granted, or of a plain write, that had no answer because the server died."""
    crossed: int = 0
    """Wishes that a death came between."""
    deaths: Deaths = field(default_factory=Deaths)
    verdict: Verdict = field(default_factory=Verdict)
    aftermath: Aftermath = field(default_factory=Aftermath)
    codes: Counter[str] = field(default_factory=Counter)
    strange: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """All that must not be."""
        late = [f"not settled {SETTLED_WITHIN:.0f} s after the restart"] if self.drained >= SETTLED_WITHIN else []
        left = [f"unsettled: {what}" for what in self.aftermath.unsettled]
        leaks = [f"leaked: {what}" for what in self.aftermath.leaks]
        return [
            *(*self.verdict.faults, *leaks, *left, *late),
            *(*self.aftermath.faults, *self.strange, *self.deaths.unexpected),
        ]

    def figures(self) -> dict[str, Any]:
        """The report, for docs/reliability.md."""
        verdict, deaths, aftermath = self.verdict, self.deaths, self.aftermath
        return {
            "seed": self.seed,
            "kills": deaths.kills,
            "minutes": round(self.seconds / 60, 1),
            "state_folders": self.segments,
            "calls": self.calls,
            "under_way": deaths.under_way,
            "executing": deaths.executing,
            "pending": deaths.pending,
            "wishes": verdict.wishes,
            "states": dict(verdict.states),
            "made": dict(verdict.made),
            "crossed": self.crossed,
            "answers_lost": self.cut,
            "drained": round(self.drained, 1),
            "lost": len(verdict.lost),
            "doubled": len(verdict.doubled),
            "denied": len(verdict.denied),
            "wrong": len(verdict.wrong) + len(aftermath.faults) + len(self.strange) + len(deaths.unexpected),
            "unsettled": len(verdict.open) + len(aftermath.unsettled),
            "leaked": len(aftermath.leaks),
            "secrets": aftermath.secrets,
            "bytes": aftermath.bytes.total(),
            "manual": verdict.states["manual"],
            "phases": dict(deaths.phases.most_common()),
            "at_points": dict(deaths.at_points.most_common()),
            "ways": dict(aftermath.ways.most_common()),
        }

    def lines(self) -> Iterator[str]:
        """The report, for a person."""
        deaths, rate = self.deaths, 60 * self.deaths.kills / max(self.seconds, 0.001)
        how = f" ({self.options})" if self.options else ""
        yield f"seed {self.seed}{how}: {deaths.kills} kills in {self.seconds:.0f} s, {rate:.0f} a minute"
        yield f"  {self.segments} state folders, {self.calls} calls, {deaths.under_way} of them under way at a kill"
        yield f"  at a kill {deaths.executing} approvals had no outcome, {deaths.pending} requests no answer"
        yield f"  {self.crossed} wishes lost {self.cut} answers; all settled {self.drained:.1f} s after the last start"
        for line in verdict_lines(self.verdict):
            yield f"  {line}"
        sizes = ", ".join(f"{name} {size:,}" for name, size in sorted(self.aftermath.bytes.items()))
        yield f"  {len(self.aftermath.leaks)} leaked of {self.aftermath.secrets} secrets, in bytes: {sizes}"
        yield f"  {len(self.aftermath.unsettled)} unsettled, {self.aftermath.manual} for a person"
        yield from _table("kills by the point passed last", deaths.phases)
        yield from _table("of those, at the point they were meant for", deaths.at_points)
        yield from _table("how requests ended", self.aftermath.ways)
        yield from _table("answers", self.codes)
        for fault in self.faults:
            yield f"  FAULT {fault}"


def _table(title: str, counts: Counter[str]) -> Iterator[str]:
    yield f"  {title}:"
    for name, count in sorted(counts.items(), key=lambda each: (-each[1], each[0])):
        yield f"    {count:7}  {name}"


@dataclass(frozen=True)
class Campaign:
    """A run in the making. `keys`: upstream honours idempotency keys; `labelled`: nobody dies at a chance moment."""

    kills: int
    seed: int
    keys: bool = True
    journal: bool = True
    naive: bool = False
    labelled: bool = False
    segment: int = SEGMENT_KILLS
    keep: Path | None = None

    async def run(self) -> Report:
        """Do it."""
        report, begun = Report(self.seed, self._options()), time.monotonic()
        numbers = iter(range(-(-self.kills // self.segment)))
        users = names(self.seed)
        with tempfile.TemporaryDirectory(prefix="machines-crashes-") as scratch:
            place = self.keep or Path(scratch)
            place.mkdir(parents=True, exist_ok=True)
            with upstream(place) as up:
                await up.control("/keys", honoured=self.keys)
                async with nursery() as from_:

                    async def work() -> None:
                        for number in numbers:
                            kills = min(self.segment, self.kills - number * self.segment)
                            plan = Plan(kills, POINTS, 0.0 if self.labelled else 0.5, self.naive, self.journal)
                            folder = place / f"segment-{number}"
                            segment = Segment(folder, plan, self.seed * 1009 + number, from_, up, users)
                            aftermath = await segment.run()
                            seen = up.facts({wish.user for wish in segment.wishes})
                            _add(report, segment, aftermath, judge(segment.wishes, seen))

                    async with asyncio.TaskGroup() as tasks:
                        for _ in range(AT_ONCE):
                            tasks.create_task(work())
        report.seconds = time.monotonic() - begun
        return report

    def _options(self) -> str:
        marks = ["keys ignored"] * (not self.keys) + ["no journal"] * (not self.journal)
        marks += ["naive client"] * self.naive + ["labelled points"] * self.labelled
        return ", ".join(marks)


def _add(report: Report, segment: Segment, aftermath: Aftermath, verdict: Verdict) -> None:
    report.segments += 1
    report.drained = max(report.drained, segment.drained)
    report.calls += sum(wish.calls for wish in segment.wishes)
    report.cut += sum(wish.cut for wish in segment.wishes)
    report.crossed += sum(wish.cut > 0 for wish in segment.wishes)
    report.deaths.add(segment.deaths)
    report.verdict.add(verdict)
    report.aftermath.add(aftermath)
    report.codes += segment.client.codes
    report.strange += segment.client.strange
