"""The last look at every line before it leaves for the client.

A line that holds a secret this process knows is not repaired, it is withheld: something upstream of here is broken.
"""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import Callable, Iterator

from machines_mcp.secret import Secret

MIN_ENCODED = 8
# For lines under way, and for clocks that differ.
GRACE_SECONDS = 5 * 60


class Egress:
    """Knows the secrets of this process and says whether a line shows one."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._until: dict[Secret, float] = {}
        self._forms: dict[Secret, tuple[str, ...]] = {}
        self._needles: tuple[str, ...] = ()

    def learn(self, secret: Secret, until: float = math.inf) -> None:
        """From now on no line with this secret leaves, at the least until it expires (seconds since the epoch).

        What expired more than 5 minutes ago is forgotten here, so that the secrets of a long life do not pile up.
        """
        self._until[secret] = max(until, self._until.get(secret, until))
        oldest = self._clock() - GRACE_SECONDS
        self._until = {known: end for known, end in self._until.items() if known == secret or end > oldest}
        self._forms = {
            known: self._forms.get(known) or tuple(dict.fromkeys(_forms(known.expose()))) for known in self._until
        }
        self._needles = tuple(form for forms in self._forms.values() for form in forms)

    def leaks(self, line: str) -> bool:
        """Whether the line shows a known secret, in clear or in a usual encoding."""
        return any(needle in line for needle in self._needles)


def _forms(value: str) -> Iterator[str]:
    if value:
        yield value
    # What a few characters of an encoding match is chance, and would withhold innocent lines.
    yield from (form for form in _encoded(value) if len(form) >= MIN_ENCODED)


def _encoded(value: str) -> Iterator[str]:
    raw = value.encode()
    quoted = json.dumps(value)[1:-1]
    yield quoted
    yield json.dumps(quoted)[1:-1]  # a result's text is JSON within JSON
    yield raw.hex()
    yield raw.hex().upper()
    yield value[::-1]
    # A secret inside a longer encoded text starts at one of three places in its base64; the edges are cut because
    # they depend on the neighbours.
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw)
        inner = encoded[4 if shift else 0 : -4].decode()
        yield inner
        yield inner.translate(str.maketrans("+/", "-_"))
