"""`python -m tests.leaks.memory --reveals N`: is any card data left in the server's memory after N reveals?

The test reads the whole process memory from outside (`/proc/PID/mem`, Linux) and searches for

- the card number and the key of its secrets as ASCII, as 2-byte and 4-byte text, and as base64; the raw key; and the
token and session that only the vault may hold;
- the card code where it can be told apart: as a Python string or bytes object that equals it, or within 64 bytes after
`cvc` or `CVC`. A bare buffer of four digits cannot be distinguished from chance, so no claim is made about it.

A count of zero is meaningful because the same pass finds what must be there: the partner key and a session token.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import random
import re
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.leaks.browser import RecordingBrowser
from tests.leaks.caller import Listing, RandomApprover, RandomCaller, Tally
from tests.leaks.campaign import SimulatorAddress, simulator
from tests.leaks.canaries import Canaries
from tests.leaks.server import ERAS, serving
from tests.leaks.upstream import ProxyUpstream, upstream

CHUNK = 8 * 1024 * 1024
OVERLAP = 256

FORBIDDEN = ("pan", "cvc", "secret key", "card session token", "card session id")
EXPECTED = ("partner key", "session token")


class MemorySearch:
    """The byte patterns to search for, by name and form."""

    def __init__(self, canaries: Canaries) -> None:
        values = {
            "pan": canaries.pan,
            "secret key": canaries.secret_key,
            "card session token": canaries.card_session_token,
            "card session id": canaries.card_session_id,
            "partner key": canaries.partner_key,
            "session token": canaries.session_token,
        }
        self._plain = [(name, form, needle) for name, value in values.items() for form, needle in _forms(value)]
        self._plain.append(("secret key", "bytes", bytes.fromhex(canaries.secret_key)))
        self._code = canaries.cvc.encode()
        self._named = re.compile(rb"[cC][vV][cC][^0-9]{0,64}" + self._code + rb"(?![0-9])", re.DOTALL)

    def count(self, memory: bytes, start: int) -> Counter[str]:
        """Count each pattern from `start` on. Earlier bytes are only context for matches near `start`."""
        found: Counter[str] = Counter()
        for name, form, needle in self._plain:
            at = memory.find(needle, start)
            while at >= 0:
                found[f"{name} ({form})"] += 1
                at = memory.find(needle, at + 1)
        found["cvc (after its name)"] += sum(match.end() > start for match in self._named.finditer(memory))
        found["cvc (a string or bytes)"] += sum(1 for _ in self._objects(memory, start))
        return +found

    def _objects(self, memory: bytes, start: int) -> Iterator[int]:
        """Count Python string and bytes objects of exactly four characters, which their length field identifies."""
        at = memory.find(self._code + b"\0", start)
        while at >= 0:
            # Before the data, bytes have length and hash. Strings have length, hash, state and, before 3.12, one more
            # field.
            if any(_whole(memory, at - back) == len(self._code) for back in (16, 24, 32)):
                yield at
            at = memory.find(self._code + b"\0", at + 1)


def _forms(value: str) -> Iterator[tuple[str, bytes]]:
    yield "ascii", value.encode()
    yield "two bytes", value.encode("utf-16-le")
    yield "four bytes", value.encode("utf-32-le")
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + value.encode())
        yield "base64", encoded[4 if shift else 0 : (shift + len(value)) // 3 * 4]


def _whole(memory: bytes, at: int) -> int:
    return int(struct.unpack_from("<q", memory, at)[0]) if at >= 0 else -1


def search(pid: int, needles: MemorySearch) -> tuple[Counter[str], int]:
    """Count each pattern in a process's memory, and return the number of bytes read.

    Raises:
        PermissionError: The memory is not readable.
    """
    found: Counter[str] = Counter()
    size = 0
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for low, high in _regions(pid):
            before = b""
            for start in range(low, high, CHUNK):
                with suppress(OSError):
                    part = os.pread(memory.fileno(), min(CHUNK, high - start), start)
                    size += len(part)
                    found += needles.count(before + part, len(before))
                    before = part[-OVERLAP:]
    return found, size


def _regions(pid: int) -> Iterator[tuple[int, int]]:
    for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        span, rights, *_ = line.split()
        low, high = (int(end, 16) for end in span.split("-"))
        # Beyond user space: a kernel page.
        if rights.startswith("r") and high < 1 << 63:
            yield low, high


@dataclass
class Found:
    """Counts in the server's memory before and after the reveals."""

    seed: int
    reveals: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    cards_seen: int = 0
    bytes: int = 0
    seconds: float = 0.0
    before: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)

    @property
    def leaks(self) -> dict[str, int]:
        """Return the counts that must be zero."""
        return {name: count for name, count in self.after.items() if name.startswith(FORBIDDEN)}

    @property
    def finds_controls(self) -> bool:
        """Whether the search finds what must be there."""
        return all(any(name.startswith(expected) for name in self.after) for expected in EXPECTED)

    def lines(self) -> Iterator[str]:
        """Format the report for a person."""
        yield f"seed {self.seed}: {self.reveals} reveals in {self.seconds:.0f} s, {self.cards_seen} seen on a page"
        yield "  " + ", ".join(f"{outcome} {count}" for outcome, count in sorted(self.outcomes.items()))
        yield f"  {self.bytes:,} bytes of the server's memory searched"
        for name, count in sorted(self.after.items()):
            yield f"  {'LEAK ' if name in self.leaks else 'present, as required: '}{name}: {count} copies"
        yield f"  copies of number, code, key, card session and its token: {sum(self.leaks.values())}"


async def run(
    reveals: int, seed: int, found: SimulatorAddress, *, python: str = sys.executable, tree: Path | None = None
) -> Found:
    """Reveal a card `reveals` times through one server, then search its memory."""
    result = Found(seed)
    made = ProxyUpstream(Canaries(seed), found.url, found.key, seed)
    needles = MemorySearch(made.canaries)
    rng, tally = random.Random(seed), Tally()  # noqa: S311
    person = RandomApprover(rng, made.canaries, tally, always="accept")
    with tempfile.TemporaryDirectory(prefix="machines-memory-") as place:
        async with (
            upstream(made) as up,
            serving(Path(place), ERAS[1], up, on_question=person, python=python, tree=tree) as server,
        ):
            browser = RecordingBrowser(up.canaries)
            caller = RandomCaller(
                server, up, rng, await Listing.of(server), tally, user=f"user-{seed}", browser=browser
            )
            await caller.journey()
            result.before, _ = await asyncio.to_thread(search, server.process.pid, needles)
            begun = time.monotonic()
            known = {"card_id": caller.arguments.known.cards[-1], "user_id": caller.user}
            up.calm.add(caller.user)
            while result.reveals < reveals:
                # Most reveals are abandoned, which is fastest. Every fifth is opened by a person or sealed.
                sink = {0: "page", 5: "sealed"}.get(result.reveals % 10, "none")
                outcome = await caller.call("reveal_card", known | {"sink": sink})
                if outcome == "rate.limited":
                    # A used page stays for 30 seconds, and at most three exist.
                    sink = "none"
                    outcome = await caller.call("reveal_card", known)
                if outcome == "approval.required":
                    outcome = await caller.approve_and_repeat(caller.arguments.known.approvals[-1])
                result.outcomes[f"{sink}: {outcome}"] += 1
                result.reveals += 1
            result.seconds = time.monotonic() - begun
            result.cards_seen = browser.cards_seen
            result.after, result.bytes = await asyncio.to_thread(search, server.process.pid, needles)
    return result


def main() -> int:
    """Run the search. Return 1 if a secret was found or the search failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.leaks.memory", description=__doc__)
    parser.add_argument("--reveals", type=int, default=5)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    with simulator() as found:
        result = asyncio.run(run(given.reveals, seed, found))
    print("\n".join(result.lines()))
    return 0 if result.finds_controls and not result.leaks else 1


if __name__ == "__main__":
    sys.exit(main())
