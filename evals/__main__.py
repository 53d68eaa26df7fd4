"""Run the evals and print what failed: `python -m evals [--seed N] [--task ID] [--record]`."""

from __future__ import annotations

import argparse
import json
import sys

from benchmarks.record import keep
from evals.record import RECORD, contents
from evals.run import everything, figures, sample, scores


def main() -> None:
    """Run the chosen evals side by side."""
    options = _options()
    runs = [*(everything(options.texts) if options.seed is None else sample(options.seed))]
    runs = [run for run in runs if options.task in (None, run.task.id)]
    scored = [*scores(runs, options.workers)]
    for run, found in scored:
        good = found.safe and (found.useful or run.agent not in ("expected path",)) and not (options.verbose)
        if not good:
            hostile = run.injection.id if run.injection else "-"
            print(run.agent, run.task.id, hostile, run.era, found.misses, found.breaches, found.unasked, found.wasted)
    sums = figures(scored)
    print(json.dumps(sums, indent=1))
    if options.record:
        keep(RECORD, "scripted agents", " ".join(["python -m evals", *sys.argv[1:]]), contents(sums))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m evals", description=main.__doc__)
    parser.add_argument("--seed", type=int, help="one hostile text a task, by this seed, instead of all")
    parser.add_argument("--texts", type=int, help="this many hostile texts a task instead of all")
    parser.add_argument("--task", help="only this task")
    parser.add_argument("--workers", type=int, default=6, help="processes; runs often wait")
    parser.add_argument("--verbose", action="store_true", help="print every run")
    parser.add_argument("--record", action="store_true", help="store the figures in docs/evals.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
