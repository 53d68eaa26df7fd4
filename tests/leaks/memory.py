"""`python -m tests.leaks.memory --reveals N`: is anything of a card left in the server's memory after N reveals?

The whole memory of the process is read from outside (`/proc/PID/mem`, Linux) and searched for

- the card's number and the key of its secrets as ASCII, as text of two and four bytes a character, and as base64, the
  key's sixteen bytes too; and for the token and the session that only the vault may hold;
- the card's code, four digits that could be anything, in the forms that tell it: a Python string or bytes object that
  holds exactly it, and within 64 bytes after `cvc` or `CVC`. A bare buffer that holds nothing but the four digits could
  not be told from chance and is not claimed.

Zero counts only because the same pass finds what must be there: the partner key and a session token, in the server.
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

from tests.leaks.browser import Browser
from tests.leaks.caller import Caller, Offer, Person, Tally
from tests.leaks.campaign import Simulator, simulator
from tests.leaks.canaries import Canaries
from tests.leaks.server import ERAS, serving
from tests.leaks.upstream import Upstream, upstream

CHUNK = 8 * 1024 * 1024
OVERLAP = 256

FORBIDDEN = ("pan", "cvc", "secret key", "card session token", "card session id")
EXPECTED = ("partner key", "session token")


class Needles:
    """What is searched for, by name and form."""

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
        """How often each is there, from `start` on: what is before that is only there for its neighbours' sake."""
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
        """Where Python keeps a string or bytes of exactly these four characters: the length stands before them."""
        at = memory.find(self._code + b"\0", start)
        while at >= 0:
            # Bytes: length, hash; a string: length, hash, state and, before 3.12, one field more.
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


def search(pid: int, needles: Needles) -> tuple[Counter[str], int]:
    """How often each is in the memory of a process, and how many bytes that is.

    Raises:
        PermissionError: Its memory may not be read.
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
        # Beyond what a process owns: a page of the kernel's.
        if rights.startswith("r") and high < 1 << 63:
            yield low, high


@dataclass
class Found:
    """What was in the server's memory, before the reveals and after them."""

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
        """What must not be there."""
        return {name: count for name, count in self.after.items() if name.startswith(FORBIDDEN)}

    @property
    def sees(self) -> bool:
        """Whether the search sees at all what must be there."""
        return all(any(name.startswith(expected) for name in self.after) for expected in EXPECTED)

    def lines(self) -> Iterator[str]:
        """The report, for a person."""
        yield f"seed {self.seed}: {self.reveals} reveals in {self.seconds:.0f} s, {self.cards_seen} seen on a page"
        yield "  " + ", ".join(f"{outcome} {count}" for outcome, count in sorted(self.outcomes.items()))
        yield f"  {self.bytes:,} bytes of the server's memory searched"
        for name, count in sorted(self.after.items()):
            yield f"  {'LEAK ' if name in self.leaks else 'there, as it must be: '}{name}: {count} copies"
        yield f"  copies of number, code, key, card session and its token: {sum(self.leaks.values())}"


async def run(
    reveals: int, seed: int, found: Simulator, *, python: str = sys.executable, tree: Path | None = None
) -> Found:
    """Reveal a card that often through one server, then search its memory."""
    result = Found(seed)
    made = Upstream(Canaries(seed), found.url, found.key, seed)
    needles = Needles(made.canaries)
    rng, tally = random.Random(seed), Tally()  # noqa: S311
    person = Person(rng, made.canaries, tally, always="accept")
    with tempfile.TemporaryDirectory(prefix="machines-memory-") as place:
        async with (
            upstream(made) as up,
            serving(Path(place), ERAS[1], up, asked=person, python=python, tree=tree) as server,
        ):
            browser = Browser(up.canaries)
            caller = Caller(server, up, rng, await Offer.of(server), tally, user=f"user-{seed}", browser=browser)
            await caller.journey()
            result.before, _ = await asyncio.to_thread(search, server.process.pid, needles)
            begun = time.monotonic()
            known = {"card_id": caller.arguments.known.cards[-1], "user_id": caller.user}
            up.calm.add(caller.user)
            while result.reveals < reveals:
                # Most go nowhere, which is quickest; every fifth is seen by a person or sealed.
                sink = {0: "page", 5: "sealed"}.get(result.reveals % 10, "none")
                outcome = await caller.call("reveal_card", known | {"sink": sink})
                if outcome == "rate.limited":
                    # A page that was used stays for half a minute, and there are three at most.
                    sink = "none"
                    outcome = await caller.call("reveal_card", known)
                if outcome == "approval.required":
                    outcome = await caller.agree(caller.arguments.known.approvals[-1])
                result.outcomes[f"{sink}: {outcome}"] += 1
                result.reveals += 1
            result.seconds = time.monotonic() - begun
            result.cards_seen = browser.cards_seen
            result.after, result.bytes = await asyncio.to_thread(search, server.process.pid, needles)
    return result


def main() -> int:
    """Run it; 1 where anything was found, or nothing could be."""
    parser = argparse.ArgumentParser(prog="python -m tests.leaks.memory", description=__doc__)
    parser.add_argument("--reveals", type=int, default=5)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    with simulator() as found:
        result = asyncio.run(run(given.reveals, seed, found))
    print("\n".join(result.lines()))
    return 0 if result.sees and not result.leaks else 1


if __name__ == "__main__":
    sys.exit(main())
