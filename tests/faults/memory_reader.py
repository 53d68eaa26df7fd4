"""A client that repeats one read and prints its cost: `python -m tests.faults.memory_reader`.

Arguments: the base URL, the partner key and the number of reads, after some warm-up reads. It prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anyio

from machines_mcp.partner import PartnerClient, errors
from machines_mcp.redaction.secret import Secret

WARM_READS = 5
DEADLINE = 30.0


def peak_bytes() -> int:
    """Return the peak memory of this program. The value of getrusage includes its parent."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("the peak memory is unavailable on this system")


async def main(base_url: str, key: str, reads: int) -> None:
    ends: list[str] = []
    async with PartnerClient(base_url, Secret(key), deadline=DEADLINE) as client:
        for number in range(WARM_READS + reads):
            if number == WARM_READS:
                before = peak_bytes()
            try:
                await client.cards.list("user-1")
            except errors.PartnerError as error:
                ends.append(type(error).__name__)
            else:
                ends.append("ok")
    grown = peak_bytes() - before
    print(json.dumps({"ends": ends[WARM_READS:], "grown": grown}))


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
