"""`python -m tests.mutants [NAME ...]`: apply each planted leak to a copy and check that the leak suite finds it."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.leaks.campaign import simulator
from tests.mutants.copies import copy_package
from tests.mutants.mutants import Mutant, MutantVerdict, line, mutants, run, summary

AT_ONCE = 3


async def run_all(chosen: list[Mutant], seed: int) -> list[MutantVerdict]:
    """Run three mutants at a time against one simulator, on a snapshot of the package."""
    waiting = iter(chosen)
    verdicts: list[MutantVerdict] = []
    with (
        tempfile.TemporaryDirectory(prefix="machines-mutants-") as place,
        simulator() as found,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as scanners,
    ):
        source = copy_package(Path(place))

        async def work() -> None:
            for mutant in waiting:
                verdicts.append(await run(mutant, source, found, scanners, seed))
                print(line(verdicts[-1]), flush=True)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(work())
    return sorted(verdicts, key=lambda verdict: verdict.mutant.name)


def main() -> int:
    """Run the chosen mutants. Return 1 if the suite missed one."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="which; without any, all")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--verbose", action="store_true", help="the whole report of each")
    given = parser.parse_args()
    chosen = [mutant for mutant in mutants() if not given.names or mutant.name in given.names]
    verdicts = asyncio.run(run_all(chosen, given.seed))
    if given.verbose:
        for verdict in verdicts:
            print(verdict.mutant.name)
            print("\n".join(verdict.report.lines()))
    print(summary(verdicts))
    return 0 if all(verdict.found for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
