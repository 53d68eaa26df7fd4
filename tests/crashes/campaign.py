"""A campaign: servers over several state folders share one sandbox, until enough were killed. Then upstream is
checked."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machines_mcp.sandbox.faults import MAX_CALLS
from tests.crashes.folder_findings import FolderFindings
from tests.crashes.folder_run import SETTLED_WITHIN, FolderRun
from tests.crashes.judge import CrashVerdict, judge
from tests.crashes.judge import lines as verdict_lines
from tests.crashes.kill_plan import KillCounts, Plan
from tests.crashes.operations import names
from tests.crashes.server_process import fork_server
from tests.crashes.upstream import upstream

POINTS = (
    *("approval.opened", "approval.granted", "approval.consumed", "quote.used", "journal.begun", "request.sent"),
    *("request.answered", "journal.ended", "outcome.kept", "audit.appended", "withdrawal.recorded", "vault.started"),
    *("reveal.taken", "reveal.finished", "reconciliation.begun", "reconciliation.ended"),
)
KILLS_PER_FOLDER = 30
# A live signature makes the next withdrawal wait for up to half an hour. The campaign uses each signature soon.
_SHORT_WAIT: dict[str, Any] = {
    "kind": "patch",
    "path": "/withdrawals",
    "method": "POST",
    "exact": True,
    "calls": MAX_CALLS,
    "patch": [{"op": "replace", "path": "/data/retryAfterSeconds", "value": 1}],
}
# Concurrent state folders. One waits at its end while the others' servers are busy.
AT_ONCE = 4


@dataclass
class CrashReport:
    """The counts and findings of a campaign."""

    seed: int
    options: str
    seconds: float = 0.0
    folders: int = 0
    drained: float = 0.0
    """The longest time from the last start until every operation was resolved or left to a person, in seconds."""
    calls: int = 0
    cut: int = 0
    """Approved calls, and calls without an approval, whose response was lost because the server was killed."""
    crossed: int = 0
    """Operations that were interrupted by a kill."""
    kill_counts: KillCounts = field(default_factory=KillCounts)
    verdict: CrashVerdict = field(default_factory=CrashVerdict)
    findings: FolderFindings = field(default_factory=FolderFindings)
    codes: Counter[str] = field(default_factory=Counter)
    strange: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """List every violation."""
        late = [f"not resolved {SETTLED_WITHIN:.0f} s after the restart"] if self.drained >= SETTLED_WITHIN else []
        left = [f"unsettled: {what}" for what in self.findings.unsettled]
        leaks = [f"leaked: {what}" for what in self.findings.leaks]
        return [
            *(*self.verdict.faults, *leaks, *left, *late),
            *(*self.findings.faults, *self.strange, *self.kill_counts.unexpected),
        ]

    def figures(self) -> dict[str, Any]:
        """Return the figures for docs/reliability.md."""
        verdict, kill_counts, findings = self.verdict, self.kill_counts, self.findings
        return {
            "seed": self.seed,
            "kills": kill_counts.kills,
            "minutes": round(self.seconds / 60, 1),
            "state_folders": self.folders,
            "calls": self.calls,
            "under_way": kill_counts.under_way,
            "executing": kill_counts.executing,
            "pending": kill_counts.pending,
            "wishes": verdict.operations,
            "states": dict(verdict.states),
            "made": dict(verdict.made),
            "crossed": self.crossed,
            "answers_lost": self.cut,
            "drained": round(self.drained, 1),
            "lost": len(verdict.lost),
            "doubled": len(verdict.doubled),
            "denied": len(verdict.denied),
            "wrong": len(verdict.wrong) + len(findings.faults) + len(self.strange) + len(kill_counts.unexpected),
            "unsettled": len(verdict.open) + len(findings.unsettled),
            "leaked": len(findings.leaks),
            "secrets": findings.secrets,
            "bytes": findings.bytes.total(),
            "manual": verdict.states["manual"],
            "phases": dict(kill_counts.phases.most_common()),
            "at_points": dict(kill_counts.at_points.most_common()),
            "outcomes": dict(findings.outcomes.most_common()),
        }

    def lines(self) -> Iterator[str]:
        """Format the report for a person."""
        kill_counts, rate = self.kill_counts, 60 * self.kill_counts.kills / max(self.seconds, 0.001)
        how = f" ({self.options})" if self.options else ""
        yield f"seed {self.seed}{how}: {kill_counts.kills} kills in {self.seconds:.0f} s, {rate:.0f} a minute"
        yield f"  {self.folders} state folders, {self.calls} calls, {kill_counts.under_way} in flight at a kill"
        yield f"  at a kill {kill_counts.executing} approvals had no outcome, {kill_counts.pending} requests none"
        yield f"  {self.crossed} operations lost {self.cut} responses; all resolved in {self.drained:.1f} s"
        for line in verdict_lines(self.verdict):
            yield f"  {line}"
        sizes = ", ".join(f"{name} {size:,}" for name, size in sorted(self.findings.bytes.items()))
        yield f"  {len(self.findings.leaks)} leaked of {self.findings.secrets} secrets, in bytes: {sizes}"
        yield f"  {len(self.findings.unsettled)} unresolved, {self.findings.manual} for a person"
        yield from _table("kills by the last failpoint passed", kill_counts.phases)
        yield from _table("of those, at their planned failpoint", kill_counts.at_points)
        yield from _table("how requests ended", self.findings.outcomes)
        yield from _table("answers", self.codes)
        for fault in self.faults:
            yield f"  FAULT {fault}"


def _table(title: str, counts: Counter[str]) -> Iterator[str]:
    yield f"  {title}:"
    for name, count in sorted(counts.items(), key=lambda each: (-each[1], each[0])):
        yield f"    {count:7}  {name}"


@dataclass(frozen=True)
class CrashCampaign:
    """A campaign. `keys`: upstream honors idempotency keys. `labelled`: every kill is at a failpoint."""

    kills: int
    seed: int
    keys: bool = True
    journal: bool = True
    naive: bool = False
    labelled: bool = False
    kills_per_folder: int = KILLS_PER_FOLDER
    keep: Path | None = None

    async def run(self) -> CrashReport:
        """Run the campaign."""
        report, begun = CrashReport(self.seed, self._options()), time.monotonic()
        numbers = iter(range(-(-self.kills // self.kills_per_folder)))
        users = names(self.seed)
        with tempfile.TemporaryDirectory(prefix="machines-crashes-") as scratch:
            place = self.keep or Path(scratch)
            place.mkdir(parents=True, exist_ok=True)
            with upstream(place) as up:
                await up.control("/keys", honoured=self.keys)
                async with fork_server() as forks:

                    async def work() -> None:
                        for number in numbers:
                            kills = min(self.kills_per_folder, self.kills - number * self.kills_per_folder)
                            plan = Plan(kills, POINTS, 0.0 if self.labelled else 0.5, self.naive, self.journal)
                            folder = place / f"folder-{number}"
                            folder_run = FolderRun(folder, plan, self.seed * 1009 + number, forks, up, users)
                            await up.control("/faults", **_SHORT_WAIT)
                            findings = await folder_run.run()
                            seen = up.facts({operation.user for operation in folder_run.operations})
                            _add(report, folder_run, findings, judge(folder_run.operations, seen))

                    async with asyncio.TaskGroup() as tasks:
                        for _ in range(AT_ONCE):
                            tasks.create_task(work())
        report.seconds = time.monotonic() - begun
        return report

    def _options(self) -> str:
        marks = ["keys ignored"] * (not self.keys) + ["no journal"] * (not self.journal)
        marks += ["naive client"] * self.naive + ["at failpoints"] * self.labelled
        return ", ".join(marks)


def _add(report: CrashReport, folder_run: FolderRun, findings: FolderFindings, verdict: CrashVerdict) -> None:
    report.folders += 1
    report.drained = max(report.drained, folder_run.drained)
    report.calls += sum(operation.calls for operation in folder_run.operations)
    report.cut += sum(operation.cut for operation in folder_run.operations)
    report.crossed += sum(operation.cut > 0 for operation in folder_run.operations)
    report.kill_counts.add(folder_run.kill_counts)
    report.verdict.add(verdict)
    report.findings.add(findings)
    report.codes += folder_run.client.codes
    report.strange += folder_run.client.strange
