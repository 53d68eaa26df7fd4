"""`python -m tests.machine --steps N --seed S`: run the state machine for N steps and print its counts."""

from __future__ import annotations

import argparse
import logging
import random
import sys

from tests.machine.invariants import InvariantViolated
from tests.machine.runner import run


def main() -> int:
    """Run the state machine. Return 1 if an invariant was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.machine", description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000, help="at least how many")
    parser.add_argument("--seed", type=int, default=None, help="printed; the same one gives the same run here")
    parser.add_argument("--shrink", action="store_true", help="look for a shorter run to what was violated")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    # The product logs every failure of this run.
    logging.disable(logging.CRITICAL)
    try:
        done = run(given.steps, seed, shrink=given.shrink)
    except InvariantViolated as violated:
        # The exception notes hold the steps that led here.
        print(f"violated: {violated}", *getattr(violated, "__notes__", ()), sep="\n")
        return 1
    print(
        f"{done.steps} steps in {done.runs} runs, {done.seconds:.0f} s of CPU: no invariant was violated ({done.went})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
