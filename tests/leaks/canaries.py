"""Canaries: a set of secret values per run, generated from a seed, that never occur by chance.

No card number is stored in a file. They are generated when a run begins.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterable
from dataclasses import dataclass

_WORDS = ("violet", "canyon", "ember", "harbor", "lantern", "meadow", "onyx", "pepper", "quartz", "raven", "sable")
PERSONAL = ("ssn", "passport", "kyc name", "kyc email", "kyc address")
_TOKEN = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Canary:
    """One secret with its kind and its origin (`own`, `stray`, `shown`, `typed`, `identity`; see README.md)."""

    kind: str
    origin: str
    value: str

    @property
    def name(self) -> str:
        """The secret's name in a report."""
        return f"{self.kind}/{self.origin}"

    @property
    def sample(self) -> str:
        """The secret as it would appear in a text. A bare four-digit code would be ambiguous."""
        return f'"cvc": "{self.value}"' if self.kind == "cvc" else self.value

    @property
    def is_digits(self) -> bool:
        """Whether only its digits distinguish it."""
        return self.kind in ("pan", "expiry+pan", "ssn")

    @property
    def core(self) -> str:
        """Its distinctive part: a number's digits, or a text's letters and digits in lower case."""
        match self.kind:
            case "expiry+pan":
                return self.value[:16]
            case "ssn":
                return self.value.replace("-", "")
            case "bearer":
                return self.value.removeprefix("Bearer ").lower()
            case "kyc email":
                return self.value.partition("@")[0]
            case "kyc address":
                return self.value.split()[1]
            case _:
                return "".join(c for c in self.value if c.isalnum()).lower()


def card_number(rng: random.Random, *, prefix: str = "400000", last4: str | None = None) -> str:
    """Return a 16-digit number that passes the Luhn check. `last4` sets its last four digits."""
    while True:
        middle = "".join(rng.choice(string.digits) for _ in range(10 if last4 is None else 6))
        number = prefix + middle + (last4 or "")
        # Equal neighboring digits would match a shifted copy of the number.
        if passes_luhn(number) and len(set(number[6:12])) > 4:
            return number


def passes_luhn(number: str) -> bool:
    """Whether a number's check digit is correct."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(number))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def token(rng: random.Random, length: int, alphabet: str = _TOKEN) -> str:
    """Return random letters and digits."""
    return "".join(rng.choice(alphabet) for _ in range(length))


def ssn(rng: random.Random) -> str:
    """Return a social security number with dashes, in an area that was never assigned."""
    digits = f"9{rng.randrange(10):d}{rng.randrange(10):d}-{rng.randrange(11, 99)}-{rng.randrange(1000, 9999)}"
    return digits if len(set(digits)) > 5 else ssn(rng)


def passport(rng: random.Random) -> str:
    """Return a passport number as in a machine-readable line: nine characters, check digit and country."""
    return rng.choice("CFGHJK") + token(rng, 8, "CFGHJKLMNPRTVWXYZ0123456789") + f"{rng.randrange(10)}USA"


def code(rng: random.Random) -> str:
    """Return a card code of four different digits that is neither a year nor an ascending sequence."""
    while True:
        found = "".join(rng.sample("3456789", 4))
        if found not in "3456789":
            return found


class Canaries:
    """All secrets of one run."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)  # noqa: S311
        self.last4 = f"{rng.randrange(3000, 9000)}"
        self.pan = card_number(rng, last4=self.last4)
        self.cvc = code(rng)
        # A number is appended to each to make tokens unique.
        self.session_token = "mst" + token(rng, 28)
        self.card_session_token = "mct" + token(rng, 28)
        self.card_session_id = "csi" + token(rng, 24)
        self.secret_key = rng.randbytes(16).hex()
        self.partner_key = "pk" + token(rng, 30)
        self.passphrase = " ".join(rng.sample(_WORDS, 4)) + f" {rng.randrange(1000, 9999)}"
        # Not from `rng`, so that the other values of a seed stay as they were.
        self.node_key = "nk" + token(random.Random(f"node {seed}"), 30)  # noqa: S311
        self.own = tuple(
            Canary(kind, "own", value)
            for kind, value in (
                ("pan", self.pan),
                ("cvc", self.cvc),
                ("session token", self.session_token),
                ("card session token", self.card_session_token),
                ("card session id", self.card_session_id),
                ("secret key", self.secret_key),
                ("partner key", self.partner_key),
                ("node key", self.node_key),
                ("passphrase", self.passphrase),
            )
        )
        self.stray = tuple(_all_kinds(rng, "stray"))
        self.typed = tuple(_all_kinds(rng, "typed"))
        person = [canary for canary in _all_kinds(rng, "identity") if canary.kind in PERSONAL]
        self.identity = {canary.kind: canary for canary in person}
        self.shown = (
            Canary("pan", "shown", card_number(rng)),
            Canary("expiry+pan", "shown", f"{card_number(rng)}|09/31"),
            Canary("ssn", "shown", ssn(rng)),
        )

    @property
    def all(self) -> tuple[Canary, ...]:
        """Return every secret."""
        return (*self.own, *self.stray, *self.typed, *self.identity.values(), *self.shown)


def _all_kinds(rng: random.Random, origin: str) -> Iterable[Canary]:
    yield Canary("pan", origin, card_number(rng))
    yield Canary("expiry+pan", origin, f"{card_number(rng)}={rng.randrange(2901, 2912)}")
    yield Canary("cvc", origin, code(rng))
    yield Canary("secret key", origin, rng.randbytes(16).hex())
    yield Canary("card session id", origin, token(rng, 26))
    yield Canary("session token", origin, token(rng, 32))
    yield Canary("card session token", origin, token(rng, 32))
    yield Canary("partner key", origin, "pk_live_" + token(rng, 24))
    yield Canary("bearer", origin, "Bearer " + token(rng, 30))
    yield Canary("ssn", origin, ssn(rng))
    yield Canary("passport", origin, passport(rng))
    yield Canary("passphrase", origin, " ".join(rng.sample(_WORDS, 4)) + f" {rng.randrange(1000, 9999)}")
    yield Canary("kyc name", origin, "Zq" + token(rng, 12, string.ascii_lowercase))
    yield Canary("kyc email", origin, token(rng, 14, string.ascii_lowercase) + "@example.com")
    yield Canary("kyc address", origin, f"{rng.randrange(11, 99)} {token(rng, 13, string.ascii_lowercase)} Road")
