"""Planted leaks: each patch opens one channel to one kind of secret, and the leak suite must find it."""

from __future__ import annotations

import subprocess
import tempfile
import time
import traceback
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from tests.leaks.campaign import LeakCampaign, LeakReport, Mode, SimulatorAddress
from tests.leaks.server import ERAS
from tests.mutants.copies import copy_package, interpreter
from tests.support.waiting import PATIENCE

FOLDER = Path(__file__).parent
_SHARES = {"faults": 0.3, "echo": 0.25}
# The steps are random, and a run's progress depends on the machine's speed.
_SEEDS = 6


@dataclass(frozen=True)
class Mutant:
    """A patch. Its first lines name the leaking channel, the secret, and the steps that reach the leak.

    `steps` are kinds of `tests.leaks.caller`. `tools` are the tools to call. Every leak test runs the same steps.
    """

    name: str
    channel: str
    secret: str
    steps: tuple[str, ...]
    tools: tuple[str, ...] | None
    mode: Mode
    calls: int
    patch: Path

    @classmethod
    def read(cls, path: Path) -> Mutant:
        """Read a mutant from a file."""
        head = path.read_text(encoding="utf-8").partition("\n\n")[0]
        fields = dict(line.split(": ", 1) for line in head.splitlines())
        era, *marks = fields["Mode"].split()
        (known,) = (known for known in ERAS if known == era)
        shares = {mark: _SHARES[mark] if mark in marks else 0.0 for mark in _SHARES}
        mode = Mode(
            known,
            dialog="no-dialog" not in marks,
            faults=shares["faults"],
            fault=fields.get("Fault", ""),
            echo=shares["echo"],
        )
        steps = tuple(fields["Steps"].split(","))
        tools = tuple(fields["Tools"].split(",")) if "Tools" in fields else None
        return cls(path.stem, fields["Channel"], fields["Secret"], steps, tools, mode, int(fields["Calls"]), path)


@dataclass(frozen=True)
class MutantVerdict:
    """The leak suite's result for a mutant."""

    mutant: Mutant
    report: LeakReport
    seconds: float

    @property
    def found(self) -> list[str]:
        """The secrets found in the opened channel. A database's channel includes its write-ahead log."""
        return sorted(
            {hit.canary.name for _, channel, hit in self.report.hits if channel.startswith(self.mutant.channel)}
        )


def mutants() -> list[Mutant]:
    """Return all mutants by name."""
    return [Mutant.read(path) for path in sorted(FOLDER.glob("*.patch"))]


def apply(patch: Path, tree: Path, *, check: bool = False) -> str:
    """Apply a patch to a tree, or only check it. Return git's error, or "" on success."""
    command = ["git", "apply", "--unidiff-zero", "-p1", *(["--check"] if check else []), str(patch)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.stderr.strip() if done.returncode else ""


async def run(
    mutant: Mutant, source: Path, simulator: SimulatorAddress, scanners: Executor, seed: int
) -> MutantVerdict:
    """Run the leak suite's steps against a mutated copy of `source`. If they find no secret, try other seeds."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"machines-mutant-{mutant.name}-") as place:
        tree = copy_package(Path(place), source)
        fault = apply(mutant.patch, tree)
        if fault:
            return MutantVerdict(mutant, LeakReport(seed, unexpected=[fault]), 0.0)
        python = interpreter(Path(place), tree)
        for again in range(_SEEDS):
            report = await _report(mutant, python, simulator, scanners, seed + again)
            verdict = MutantVerdict(mutant, report, time.monotonic() - begun)
            if verdict.found:
                break
    return verdict


async def _report(
    mutant: Mutant, python: str, simulator: SimulatorAddress, scanners: Executor, seed: int
) -> LeakReport:
    campaign = LeakCampaign(
        mutant.calls,
        seed,
        simulator,
        modes=(mutant.mode,),
        calls_per_server=mutant.calls,
        only=mutant.steps,
        tools=mutant.tools,
        python=python,
        scanners=scanners,
        seek=mutant.channel,
    )
    try:
        return await campaign.run()
    except Exception as error:
        return LeakReport(seed, unexpected=["".join(traceback.format_exception(error))])


def line(verdict: MutantVerdict) -> str:
    """Return the report line of one verdict."""
    mutant = verdict.mutant
    mark = "found " if verdict.found else "MISSED"
    told = ", ".join(verdict.found) or "\n".join([mutant.secret, *verdict.report.unexpected])
    return f"{mark} {verdict.seconds:5.1f} s  {mutant.name} ({mutant.channel}): {told}"


def summary(verdicts: list[MutantVerdict]) -> str:
    """Return how many of the planted leaks were found."""
    missed = [verdict.mutant.name for verdict in verdicts if not verdict.found]
    return (
        f"{len(verdicts) - len(missed)} of {len(verdicts)} planted leaks found, missed: {', '.join(missed) or 'none'}"
    )
