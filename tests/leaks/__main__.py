"""`python -m tests.leaks --calls N --seed S`: call every tool against a hostile upstream and search all output."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from pathlib import Path

from tests.leaks.caller import KINDS
from tests.leaks.campaign import CALLS_PER_SERVER, LeakCampaign, simulator


def main() -> int:
    """Run the campaign. Return 1 if a secret was found or a server failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.leaks", description=__doc__)
    parser.add_argument("--calls", type=int, default=300, help="how many tool calls")
    parser.add_argument("--seed", type=int, default=None, help="of the secrets and the choices; printed")
    parser.add_argument("--calls-per-server", type=int, default=CALLS_PER_SERVER, help="tool calls per server")
    parser.add_argument("--only", action="append", choices=list(KINDS), help="only steps of this kind; repeatable")
    parser.add_argument("--keep", type=Path, help="a folder that keeps what the servers left behind")
    parser.add_argument("--outcomes", action="store_true", help="list every outcome with its count and mean time")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that runs the servers")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    with simulator() as found:
        campaign = LeakCampaign(
            given.calls,
            seed,
            found,
            calls_per_server=given.calls_per_server,
            only=tuple(given.only) if given.only else None,
            keep=given.keep,
            python=given.python,
        )
        report = asyncio.run(campaign.run())
    print("\n".join(report.lines()))
    if given.outcomes:
        for outcome, count in sorted(report.tally.outcomes.items()):
            each = 1000 * report.tally.seconds[outcome] / count
            print(f"{count:7} {each:7.0f} ms  {outcome}")
    return 1 if report.hits or report.unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
