"""`python -m tests.crashes --kills N --seed S`: kill servers under load and check the effects upstream."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from pathlib import Path

from benchmarks.record import keep
from tests.crashes.campaign import KILLS_PER_FOLDER, CrashCampaign


def main() -> int:
    """Run the campaign. Return 1 if an operation was lost, doubled or left unresolved, or a secret leaked."""
    parser = argparse.ArgumentParser(prog="python -m tests.crashes", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="number of servers to kill")
    parser.add_argument("--seed", type=int, default=None, help="seed of the operations and the kills; printed")
    parser.add_argument("--no-keys", action="store_true", help="upstream ignores idempotency keys")
    parser.add_argument("--no-journal", action="store_true", help="no journal, and a client that starts over")
    parser.add_argument("--by-id", action="store_true", help="with --no-journal: a client that repeats calls by id")
    parser.add_argument("--points", action="store_true", help="kill only at failpoints")
    parser.add_argument("--kills-per-folder", type=int, default=KILLS_PER_FOLDER, help="kills per state folder")
    parser.add_argument("--keep", type=Path, help="folder to keep the servers' files in")
    parser.add_argument("--record", type=Path, help="file to add the figures to, for docs/reliability.md")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    campaign = CrashCampaign(
        *(given.kills, seed),
        keys=not given.no_keys,
        journal=not given.no_journal,
        naive=given.no_journal and not given.by_id,
        labelled=given.points,
        kills_per_folder=given.kills_per_folder,
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
