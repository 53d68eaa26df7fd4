"""One row of the audit log: names, ids and amounts. Anything else is stored as a keyed fingerprint."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from machines_mcp.redaction.card_numbers import find_cards
from machines_mcp.redaction.luhn import passes_luhn
from machines_mcp.storage.migrations.stored_names import AUDIT_KINDS

Kind = Literal["call", "outcome", "approval_request", "decision", "setting", "alarm", "reveal"]

COLUMNS = (
    "seq",
    "at",
    "kind",
    "tool",
    "action_class",
    "user_id",
    "approval_id",
    "verdict",
    "code",
    "decided_by",
    "sink",
    "card_id",
    "amount_cents",
    "policy",
)

_KINDS = {stored: kind for kind, stored in AUDIT_KINDS.items()}
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@+-]{0,127}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DIGITS = re.compile(r"[0-9](?:[_.:@+-]?[0-9]){12,}")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One event. `code` is one of our codes, and `by` is who decided. No field holds text of the model."""

    kind: Kind
    tool: str | None = None
    action_class: str | None = None
    user_id: str | None = None
    approval_id: str | None = None
    verdict: str | None = None
    code: str | None = None
    by: str | None = None
    sink: str | None = None
    card_id: str | None = None
    amount_cents: int | None = None

    def values(self, key: bytes) -> tuple[str | int | None, ...]:
        """Return the stored columns from `kind` to `amount_cents`."""
        return (
            stored_kind(self.kind),
            _plain(key, self.tool),
            _plain(key, self.action_class),
            fingerprinted(key, self.user_id),
            _plain(key, self.approval_id),
            _plain(key, self.verdict),
            _plain(key, self.code),
            _plain(key, self.by),
            _plain(key, self.sink),
            fingerprinted(key, self.card_id),
            self.amount_cents,
        )


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A stored entry. `at` is in epoch seconds, `policy` is the digest of the policy in force at that time."""

    seq: int
    at: float
    kind: str
    tool: str | None
    action_class: str | None
    user_id: str | None
    approval_id: str | None
    verdict: str | None
    code: str | None
    by: str | None
    sink: str | None
    card_id: str | None
    amount_cents: int | None
    policy: str

    @classmethod
    def of(cls, columns: Sequence[Any]) -> AuditRow:
        """Return the row with these stored columns."""
        seq, at, kind, *rest = columns
        return cls(seq, at, _KINDS.get(kind, kind), *rest)

    def as_json(self) -> dict[str, Any]:
        """Return the row as a JSON object, without empty columns."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def stored_kind(kind: str) -> str:
    """Return the name under which the kind is stored."""
    return AUDIT_KINDS.get(kind, kind)


def fingerprinted(key: bytes, value: str | None) -> str | None:
    """Return the value if it looks like an id, else its fingerprint. Equal values have equal fingerprints.

    The model chooses these values, and could choose a card number or a message to the reader of the log.
    """
    if value is not None and (_holds_digits_of_one(value) or find_cards(value)):
        return _fingerprint(key, value)
    return _plain(key, value)


def _plain(key: bytes, value: str | None) -> str | None:
    if not value:
        return None
    return value if _PLAIN.fullmatch(value) else _fingerprint(key, value)


def _fingerprint(key: bytes, value: str) -> str:
    return "~" + hmac.digest(key, b"value\0" + value.encode("utf-8", "replace"), "sha256").hex()[:16]


def _holds_digits_of_one(value: str) -> bool:
    """Whether a value has digits that could be a card number of any issuer, outside of a UUID."""
    return any(_passes_somewhere(run[0]) for run in _DIGITS.finditer(_UUID.sub("", value)))


def _passes_somewhere(run: str) -> bool:
    """Whether any 13 to 19 consecutive digits in the run pass the Luhn check."""
    digits = re.sub("[^0-9]", "", run).encode()
    return any(
        passes_luhn(digits[start : start + size]) for size in range(13, 20) for start in range(len(digits) - size + 1)
    )
