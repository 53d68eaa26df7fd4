"""The last look at every line before it leaves for the client.

A line that holds a secret this process knows is not repaired, it is withheld: something upstream of here is broken.
What only looks like a card number, a security code or a national id is masked, except where the answer's own model says
that it is an id, an address or the like (`machines_mcp.redaction.verbatim`).

What this can't see: an encoding that a model invents, and whatever leaves by another way. It is the last line, not the
first: card numbers never come into this process.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from pydantic_core import from_json, to_json

from machines_mcp.redaction.detectors import may_hold_some
from machines_mcp.redaction.encodings import decoded, forms, literals, squeezed, unescaped
from machines_mcp.redaction.message_masking import MessageMasking
from machines_mcp.redaction.secret import Secret
from machines_mcp.redaction.secret_index import SecretIndex

logger = logging.getLogger(__name__)

# For lines under way, and for clocks that differ.
GRACE_SECONDS = 5 * 60
# How long an answer may still be on its way when the call behind it is over.
UNDER_WAY_SECONDS = 60
MAX_LINE = 256 * 1024
# Encodings within encodings that are read.
DEPTH = 2
# Requests whose answers are still to come; one that was cancelled has none.
MOST_ALLOWED = 1024
# Shorter or wordier, and it would be found in lines that have nothing to do with it.
_LEAST_CHARACTERS, _LEAST_DIGITS = 6, 4

_HEAD = re.compile(r'\{"jsonrpc":"2\.0","id":("(?:[^"\\]|\\.)*"|-?\d{1,20}),"(result|error|method)":')


class OutputFilter:
    """Knows the secrets of this process, and what each line may show."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._until: dict[Secret, float] = {}
        self._next_end = math.inf
        self._secrets = SecretIndex[Secret](lambda secret: forms(secret.expose()))
        self._literals: dict[Secret, frozenset[str]] = {}
        self._allowed: dict[int | str, frozenset[str]] = {}
        self.masked = 0
        """How many places were masked so far."""
        self.on_alarm: Callable[[str], None] = lambda code: None
        """Told `egress.exact` (a line held a secret) or `egress.failed` (the guard broke); the line is withheld."""

    def add_secret(self, secret: Secret, until: float = math.inf) -> None:
        """From now on no line with this secret leaves, and for 5 minutes after `until` (seconds since the epoch)."""
        self._forget_expired()
        if secret not in self._until:
            self._secrets.add(secret)
            if to_the_letter := literals(secret.expose()):
                self._literals[secret] = to_the_letter
        self._set_end(secret, max(until, self._until.get(secret, until)) + GRACE_SECONDS)

    def remove_secret(self, secret: Secret) -> None:
        """Look for it for another minute, while answers are under way, and then no more."""
        if secret in self._until:
            self._set_end(secret, self._clock() + UNDER_WAY_SECONDS)

    @contextmanager
    def temporarily(self, value: str) -> Iterator[None]:
        """Know a person's value while it is passed on. One that says too little to be told apart is let pass."""
        plain = squeezed(value)
        if len(plain) < _LEAST_CHARACTERS or sum(c in b"0123456789" for c in plain) < _LEAST_DIGITS:
            yield
            return
        secret = Secret(value)
        if secret in self._until:
            yield
            return
        self.add_secret(secret)
        try:
            yield
        finally:
            self.remove_secret(secret)

    def allow(self, request_id: int | str, values: Iterable[str]) -> None:
        """Let the answer to this request, and a question asked before it, show these values.

        That is where a string is one of them and nothing more. With the answer they are forgotten.
        """
        self._allowed[request_id] = self._allowed.get(request_id, frozenset()) | frozenset(values)
        while len(self._allowed) > MOST_ALLOWED:
            del self._allowed[next(iter(self._allowed))]

    @property
    def allowed(self) -> frozenset[str]:
        """All that the answers under way may show."""
        return frozenset().union(*self._allowed.values())

    def contains_secret(self, text: str) -> bool:
        """Whether the text holds a secret of this process: then it must not be kept either. Raises the same alarm."""
        try:
            self._forget_expired()
            found = self._contains_secret(text, squeezed(text), DEPTH)
        except Exception:
            self._raise_alarm("output_filter.failed")
            return True
        if found:
            self._raise_alarm("output_filter.exact")
        return found

    def filtered(self, line: str) -> str | None:
        """The line as it may leave, with what looks like a secret masked; None where it must not leave.

        A line of more than 256 KB is not looked at in part, and so does not leave.
        """
        try:
            self._forget_expired()
            exempt = self._take_allowed(line)
            if len(line) > MAX_LINE:
                logger.warning("a line of more than 256 KB was withheld")
                return None
            plain = squeezed(line)
            if self._contains_secret(line, plain, DEPTH):
                self._raise_alarm("output_filter.exact")
                return None
            return self._with_masks(line, exempt) if may_hold_some(line, plain) else line
        except Exception:
            self._raise_alarm("output_filter.failed")  # a guard that fails has not looked
            return None

    def _contains_secret(self, text: str, plain: bytes, depth: int) -> bool:
        """Whether the text, squeezed to `plain`, shows a known secret, in clear or in a usual encoding."""
        if self._secrets.found_in(plain) or any(
            literal in text for known in self._literals.values() for literal in known
        ):
            return True
        read = unescaped(text)
        if read != text and self._secrets.found_in(squeezed(read)):
            return True
        return depth > 0 and any(
            self._contains_secret(inner, squeezed(inner), depth - 1) for inner in set(decoded(read))
        )

    def _with_masks(self, line: str, exempt: frozenset[str]) -> str:
        masking = MessageMasking(exempt)
        message = from_json(line)
        shown = masking.masked(message)
        if not masking.count:
            return line
        # What the client chose and finds its answer by; masked, the answer would be lost.
        for part, name in ((shown, "id"), (shown.get("params"), "progressToken")):
            if isinstance(part, dict) and name in part:
                part[name] = message[name] if part is shown else message["params"][name]
        self.masked += masking.count
        return to_json(shown).decode() + ("\n" if line.endswith("\n") else "")

    def _take_allowed(self, line: str) -> frozenset[str]:
        """What this line may show. An answer is its request's only one, so that is forgotten."""
        found = _HEAD.match(line) if self._allowed else None
        if found is None:
            return frozenset()
        if found[2] == "method":
            # A question on the way to some answer; which one, it does not say.
            return self.allowed
        return self._allowed.pop(json.loads(found[1]), frozenset())

    def _raise_alarm(self, code: str) -> None:
        try:
            self.on_alarm(code)
        except Exception as error:
            logger.error("an alarm could not be raised: %s", type(error).__name__)

    def _set_end(self, secret: Secret, end: float) -> None:
        self._until[secret] = end
        self._next_end = min(self._until.values())

    def _forget_expired(self) -> None:
        now = self._clock()
        if now < self._next_end:
            return
        for secret in [known for known, end in self._until.items() if end <= now]:
            del self._until[secret]
            self._literals.pop(secret, None)
            self._secrets.remove(secret)
        self._next_end = min(self._until.values(), default=math.inf)
