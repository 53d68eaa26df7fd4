"""`python -m tests.crashes --kills N --seed S`: kill servers under load, and ask upstream what happened how often."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from pathlib import Path

from benchmarks.record import keep
from tests.crashes.campaign import SEGMENT_KILLS, Campaign


def main() -> int:
    """Run it; 1 where something was lost, doubled, leaked or left unsettled."""
    parser = argparse.ArgumentParser(prog="python -m tests.crashes", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="how many servers are killed")
    parser.add_argument("--seed", type=int, default=None, help="of what users want and of when servers die; printed")
    parser.add_argument("--no-keys", action="store_true", help="upstream ignores idempotency keys")
    parser.add_argument("--no-journal", action="store_true", help="no journal, and a client that calls anew: doubles")
    parser.add_argument("--by-id", action="store_true", help="with --no-journal: repeated by the id all the same")
    parser.add_argument("--points", action="store_true", help="kills at the labelled points alone")
    parser.add_argument("--segment", type=int, default=SEGMENT_KILLS, help="kills per state folder")
    parser.add_argument("--keep", type=Path, help="a folder that keeps what the servers left behind")
    parser.add_argument("--record", type=Path, help="add the figures to those in this file, for docs/reliability.md")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    campaign = Campaign(
        *(given.kills, seed),
        keys=not given.no_keys,
        journal=not given.no_journal,
        naive=given.no_journal and not given.by_id,
        labelled=given.points,
        segment=given.segment,
        keep=given.keep,
    )
    report = asyncio.run(campaign.run())
    print("\n".join(report.lines()))
    if given.record is not None:
        name = ", ".join(filter(None, ("crashes", report.options, f"seed {seed}")))
        flags = [word for word in ("--no-keys", "--no-journal", "--by-id", "--points") if word in sys.argv]
        command = " ".join(["python -m tests.crashes", f"--kills {given.kills} --seed {seed}", *flags])
        keep(given.record, name, command, report.figures())
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
