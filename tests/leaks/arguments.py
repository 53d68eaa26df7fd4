"""Tool arguments generated from the schemas that the server lists: valid, odd and wrong ones.

Secrets appear only where they must never be seen again (see README.md): in calls that can't be valid, in identity data
and, for card numbers, in displayed texts.
"""

from __future__ import annotations

import random
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.leaks.canaries import Canaries
from tests.leaks.encodings import ENCODINGS, WRITINGS

Schema = Mapping[str, Any]

_ODD_TEXTS = (
    "", " ", "\u202eabc", "\x1b[31mred", "a\u0000b", "null", "🂡" * 30, "'; drop table cards; --", "../../etc/passwd",
    "{{7*7}}", "%s%s%n", "<script>alert(1)</script>", "\ufffe", "x" * 300, "ß" * 60, "1e999", "-1", "\n\n", "NaN",
)  # fmt: skip
_ODD_VALUES: tuple[Any, ...] = (
    *(0, -1, 1, 2**31, 2**53, 2**63, 10**40, 0.5, -0.0, 1e308, True, False, None, [], {}, [[]], [None], {"": None}),
    "1",
)


@dataclass(frozen=True)
class PendingCall:
    """A call that waits for a person, at the desk or on the card's own page."""

    tool: str
    given: dict[str, Any]
    approval_id: str
    desk: str | None
    page: str | None


@dataclass
class KnownIds:
    """The ids that a caller has learned about one user."""

    cards: list[str] = field(default_factory=list)
    deposits: list[str] = field(default_factory=list)
    quotes: list[str] = field(default_factory=list)
    approvals: list[PendingCall] = field(default_factory=list)

    def learn(self, body: Mapping[str, Any]) -> None:
        """Collect the ids in a result."""
        for name, kept in (("card_id", self.cards), ("deposit_id", self.deposits), ("quote_id", self.quotes)):
            value = body.get(name)
            if isinstance(value, str) and value not in kept:
                kept.append(value)
                del kept[:-20]


class Arguments:
    """Generates call arguments for one user."""

    def __init__(self, rng: random.Random, canaries: Canaries, tools: Mapping[str, Schema], user: str | None) -> None:
        self.rng = rng
        self.canaries = canaries
        self.tools = tools
        self.user = user
        self.known = KnownIds()
        self._number = next(canary for canary in canaries.typed if canary.kind == "pan")

    def valid(self, tool: str) -> dict[str, Any]:
        """Return arguments that the schema accepts, using known ids where possible."""
        schema = self.tools[tool]
        required = schema.get("required", ())
        chosen = [name for name in schema.get("properties", {}) if name in required or self.rng.random() < 0.4]
        if tool == "submit_kyc":
            # Either all fields or, if a form asks the person, none.
            chosen = list(schema["properties"]) if self.rng.random() < 0.7 else ["user_id"] * (self.user is not None)
        if tool == "quote_withdrawal":
            # The user has no linked wallet.
            chosen = [*chosen, "admin_address"]
        given = {name: self._value(name, schema["properties"][name]) for name in chosen if name != "approval_id"}
        if ("limit_amount_cents" in given) != ("limit_frequency" in given):
            given.pop("limit_amount_cents", None)
            given.pop("limit_frequency", None)
        if tool == "cancel_approval":
            waiting = [pending.approval_id for pending in self.known.approvals]
            given["approval_id"] = self.rng.choice([*waiting[-2:], "ab" * 16])
        if tool == "update_card" and len(given) <= 2:
            given["status"] = self.rng.choice(["active", "locked"])
        return given

    def odd(self, tool: str) -> dict[str, Any]:
        """Return valid arguments, some at or beyond a limit. They hold no secrets, because the call may be valid."""
        given = self.valid(tool)
        for name in self.rng.sample(sorted(given), k=min(len(given), self.rng.choice([1, 1, 2]))):
            odd = self.rng.choice(_ODD_TEXTS) if self.rng.random() < 0.5 else self.rng.choice(_ODD_VALUES)
            given[name] = odd
        if self.rng.random() < 0.3:
            given["user_id"] = self.rng.choice(_ODD_TEXTS)
        return given

    def wrong(self, tool: str) -> object:
        """Return arguments that no tool accepts, with secrets as names, as values and in nested places."""
        given: dict[str, Any] = self.valid(tool)
        properties = self.tools[tool].get("properties", {})
        name = self.rng.choice(sorted(properties) or ["nothing"])
        kind = self.rng.randrange(8)
        if kind == 0:
            given[self.secret()] = self.rng.choice([1, "x", None, {}])
        elif kind == 1:
            given[self.rng.choice(["pan", "cvc", "token", "ssn", "card_number", "passphrase"])] = self.secret()
        elif kind == 2:
            given[name] = [self.secret(), {self.secret(): self.secret()}]
        elif kind == 3:
            given[name] = {"a": {"b": [self.secret()]}}
        elif kind == 4:
            given[name] = self.secret() * 400
        elif kind == 5:
            given |= {"approval_id": self.secret(), "zzz": 1}
        elif kind == 6:
            given |= {"user_id": f"{self.secret()}\n", "_meta": self.secret()}
        else:
            return self.rng.choice([self.secret(), [self.secret()], 7])
        for known, schema in properties.items():
            number = schema.get("type") in ("integer", "number")
            if self.rng.random() < 0.4 and (number or "enum" in schema):
                given[known] = self.secret()
        return given

    def secret(self) -> str:
        """Return one of the caller's own secrets, plain or encoded."""
        canary = self.rng.choice(self.canaries.typed)
        way = self.rng.choice(tuple(ENCODINGS)) if self.rng.random() < 0.3 else "plain"
        return ENCODINGS[way](canary.sample).decode("utf-8", "replace")

    def number(self) -> str:
        """Return a text with the caller's own card number, written so that its form identifies it."""
        return f"about {WRITINGS[self.rng.choice(tuple(WRITINGS))](self._number.value).decode()}"

    def _value(self, name: str, schema: Schema) -> Any:
        if name == "user_id":
            return self.user
        special = self._special(name)
        if special is not None:
            return special
        if "enum" in schema:
            return self.rng.choice(schema["enum"])
        match schema.get("type"):
            case "integer":
                return self._integer(name, schema)
            case "number":
                return self.rng.choice([1, 10, 25.5, 100, 1000])
            case "array":
                items = schema.get("items", {})
                return [self._value(name, items)] if items else []
            case "boolean":
                return self.rng.random() < 0.5
            case _:
                return "".join(self.rng.choice(string.ascii_letters) for _ in range(self.rng.randrange(4, 12)))

    def _integer(self, name: str, schema: Schema) -> int:
        if name == "wait_seconds":
            return self.rng.choice([0, 0, 0, 1])
        low, high = schema.get("minimum", 0), schema.get("maximum", 10_000)
        return self.rng.choice([low, min(high, 5_000), min(high, self.rng.randrange(low, min(high, 50_000) + 1))])

    def _special(self, name: str) -> Any:
        match name:
            case "card_id" | "deposit_id":
                kept = self.known.cards if name == "card_id" else self.known.deposits
                return self.rng.choice(kept or ["0b0e7a52-aaaa-4bbb-8ccc-1234567890ab"])
            case "quote_id":
                return self.rng.choice(self.known.quotes[-3:] or ["quote_" + "ab" * 16])
            case "label" | "wallet_label":
                return self._label()
            case "currency" | "network":
                pair = self.rng.choice([("rusd", "base"), ("usdc", "base"), ("usdc", "ethereum")])
                return pair[0] if name == "currency" else pair[1]
            case "address" | "wallet_address" | "admin_address" | "source_token_address":
                return "0x" + self.rng.randbytes(20).hex()
            case "source_chain_id":
                return 8453
            case "cursor":
                return self.rng.choice(["1", "5", "nothing"])
            case "query" | "occupation_query":
                return self.rng.choice(["us", "usd", "chef", "coin", "engineer", "zz"])
            case "extra_id":
                return "memo-1"
            case _:
                return self.identity().get(name)

    def _label(self) -> str:
        # Refused: a person would approve it without seeing it.
        if self.rng.random() < 0.1:
            return self.number()
        return self.rng.choice(["Groceries", "Café “Zoë”", "🎁 gifts", "a" * 60])

    def identity(self) -> dict[str, str]:
        """Return identity data with secrets in every field that accepts them."""
        known = self.canaries.identity
        return {
            "first_name": known["kyc name"].value,
            "last_name": "TestApproved",
            "birth_date": "1986-12-09",
            "national_id": known[self.rng.choice(["ssn", "passport"])].value,
            "country_of_issue": "US",
            "address_country_code": "US",
            "email": known["kyc email"].value,
            "address_line1": known["kyc address"].value,
            "address_city": "Arlington",
            "address_region": "VA",
            "address_postal_code": "22201",
            "phone_country_code": "1",
            "phone_number": "2025550123",
            "occupation": "15-1132",
        }
