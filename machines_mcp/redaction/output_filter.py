"""The output filter: checks every line before it is sent to the client.

A line that contains a secret known to this process is withheld, not repaired, because something upstream is broken.
Text that only looks like a card number, security code or national id is masked. Fields that the output model declares
as an id, an address or similar (`machines_mcp.redaction.verbatim`) are exempt.

The filter can't see an encoding that a model invents, or data that leaves the process another way. It is the last
defense, not the first: card numbers never enter this process.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from pydantic_core import from_json, to_json

from machines_mcp.redaction.detectors import HIDDEN, masked_text, needs_full_search
from machines_mcp.redaction.encodings import all_decodings, all_encodings, literals
from machines_mcp.redaction.folding import squeezed
from machines_mcp.redaction.identity_echo import IdentityEchoes
from machines_mcp.redaction.message_masking import MessageMasking
from machines_mcp.redaction.secret import Secret
from machines_mcp.redaction.secret_index import SecretIndex

logger = logging.getLogger(__name__)

# Covers lines being sent and clock differences.
GRACE_SECONDS = 5 * 60
# How long a response may still be on its way after its call has ended.
UNDER_WAY_SECONDS = 60
MAX_LINE = 256 * 1024
# How many nested encodings are decoded.
DEPTH = 2
# Shorter values, or ones with fewer digits, would match unrelated lines.
_LEAST_CHARACTERS, _LEAST_DIGITS = 6, 4

# The lists of tools and of resources are long, and always the same. They are checked again only for new secrets.
_LONG_LINE, MAX_CLEAN = 4096, 16
_NUMBERED = re.compile(r'\{"jsonrpc":"2\.0","id":[0-9]{1,5},')


def _digest(line: str) -> bytes | None:
    """Return the digest of a long response without its id, if that is a number too short for anything sensitive."""
    found = _NUMBERED.match(line) if len(line) >= _LONG_LINE else None
    return None if found is None else hashlib.blake2b(line[found.end() :].encode("utf-8", "surrogatepass")).digest()


def _unheard(code: str) -> None:
    pass


class OutputFilter:
    """Knows the secrets of this process.

    `on_alarm` is called with `output_filter.exact` (a secret was found) or `output_filter.failed` (the filter broke).
    The line is withheld in both cases. `constant` is a string of ours that many lines contain and that needs no check.
    """

    def __init__(
        self,
        on_alarm: Callable[[str], None] = _unheard,
        *,
        clock: Callable[[], float] = time.time,
        constant: str = "",
    ) -> None:
        self._on_alarm = on_alarm
        self._clock = clock
        # As a whole string: without its quotes, the texts before and after it would be read as one.
        self._constant = f'"{constant}"' if constant else ""
        self._until: dict[Secret, float] = {}
        self._next_end = math.inf
        self._secrets = SecretIndex[Secret](lambda secret: all_encodings(secret.expose()))
        self._literals: dict[Secret, frozenset[str]] = {}
        # Digests of long responses in which nothing was found, without their ids, the oldest first.
        self._clean: dict[bytes, None] = {}
        self.identity_echoes = IdentityEchoes()
        """The identity data that Machines must not repeat in a text."""
        self.masked = 0
        """The number of places masked so far."""

    def add_secret(self, secret: Secret, until: float = math.inf) -> None:
        """Withhold every line with this secret until 5 minutes after `until` (epoch seconds)."""
        self._forget_expired()
        if secret not in self._until:
            self._clean.clear()
            self._secrets.add(secret)
            if to_the_letter := literals(secret.expose()):
                self._literals[secret] = to_the_letter
        self._set_end(secret, max(until, self._until.get(secret, until)) + GRACE_SECONDS)

    def remove_secret(self, secret: Secret) -> None:
        """Stop looking for the secret in one minute, when responses on their way have been sent."""
        if secret in self._until:
            self._set_end(secret, self._clock() + UNDER_WAY_SECONDS)

    @contextmanager
    def temporarily(self, value: str) -> Iterator[None]:
        """Treat a person's value as a secret in the block, unless it has too few characters or digits."""
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

    def contains_secret(self, text: str) -> bool:
        """Whether the text contains a known secret and so must not be stored. Raises the same alarms as `inspect`."""
        try:
            self._forget_expired()
            found = self._contains_secret(text)
        except Exception:
            self._raise_alarm("output_filter.failed")
            return True
        if found:
            self._raise_alarm("output_filter.exact")
        return found

    def mask_text(self, user_id: str, text: str, cut: bool) -> str:
        """Return text from outside with everything masked that this user must not see: a `Mask`.

        A text that will be cut is hidden if it contains a known secret, because half of one is not recognized later.
        Raises the same alarms as `filtered`.
        """
        if cut and self.contains_secret(text):
            return HIDDEN
        return masked_text(self.identity_echoes.masked(user_id, text))

    def storable(self, outcome: dict[str, Any], exempt: Collection[str] | None) -> str | None:
        """Return an outcome as JSON with likely secrets masked, or None if it contains a known secret.

        Values in `exempt` are not masked; with None, nothing is. Raises the same alarms as `filtered`.
        """
        text = json.dumps(outcome)
        try:
            if exempt is not None:
                text = json.dumps(MessageMasking(exempt).masked(outcome))
        except Exception:
            self._raise_alarm("output_filter.failed")
            return None
        return None if self.contains_secret(text) else text

    def filtered(self, line: str, exempt: frozenset[str] = frozenset(), *, read_once: str | None = None) -> str | None:
        """Return the line with likely secrets masked, or None if it must not be sent.

        The values in `exempt` are not masked where they are whole strings. A known secret is withheld all the same.
        `read_once` is the line without the second copy of an object that it contains twice, as JSON and in a string.
        Reading one copy is enough, and if anything in it may need a mask, the whole line gets it.
        A line of more than 256 KB is withheld without being checked.
        """
        try:
            self._forget_expired()
            if len(line) > MAX_LINE:
                logger.warning("a line of more than 256 KB was withheld")
                return None
            digest = _digest(line)
            if digest in self._clean:
                return line
            checked = line if read_once is None else read_once
            checked = checked.replace(self._constant, '""') if self._constant else checked
            plain = squeezed(checked)
            if self._contains_secret(checked, plain):
                self._raise_alarm("output_filter.exact")
                return None
            shown = self._with_masks(line, exempt) if needs_full_search(checked, plain) else line
            if digest is not None and shown is line and not exempt:
                self._remember(digest)
            return shown
        except Exception:
            self._raise_alarm("output_filter.failed")  # the filter failed, so the line is unchecked
            return None

    def _contains_secret(self, text: str, plain: bytes | None = None) -> bool:
        """Whether the text contains a known secret, in clear or in a common encoding. `plain` is the text squeezed."""
        texts, squeezes = all_decodings(text, plain, DEPTH)
        if any(self._secrets.found_in(squeeze) for squeeze in squeezes):
            return True
        return any(literal in read for known in self._literals.values() for literal in known for read in texts)

    def _with_masks(self, line: str, exempt: frozenset[str]) -> str:
        masking = MessageMasking(exempt)
        message = from_json(line, cache_strings="keys")
        shown = masking.masked(message)
        if not masking.count:
            return line
        # The client chose these to match its responses. If they were masked, the response would be lost.
        for part, name in ((shown, "id"), (shown.get("params"), "progressToken")):
            if isinstance(part, dict) and name in part:
                part[name] = message[name] if part is shown else message["params"][name]
        self.masked += masking.count
        return to_json(shown).decode() + ("\n" if line.endswith("\n") else "")

    def _remember(self, digest: bytes) -> None:
        self._clean[digest] = None
        if len(self._clean) > MAX_CLEAN:
            del self._clean[next(iter(self._clean))]

    def _raise_alarm(self, code: str) -> None:
        try:
            self._on_alarm(code)
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
