"""Outputs of every tool as honest responses of Machines give them: random amounts, times, ids, addresses and hashes."""

from __future__ import annotations

import json
import random
import string
import types
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.tools.catalog import TOOLS

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BASE62 = string.ascii_letters + string.digits
_WORDS = ("Fuel", "Coffee", "Groceries", "Rent 2026", "Zoë & Co", "Flat 12B", "No. 7", "50% off", "🎁 gifts")
_CODES = ("usdc", "usdt", "eth", "btc", "sol", "rusd", "xrp", "base", "ethereum", "polygon", "USD", "EUR")


class HonestOutputs:
    """Generates outputs. The same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311

    def line(self, number: int) -> tuple[str, set[str]]:
        """Return the response line of a random tool, and the values that it may show whole."""
        exempt: set[str] = set()
        model = self._rng.choice(TOOLS).output_model
        body = self._model(model, exempt) | {"environment": "production"}
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
        content = [{"type": "text", "text": text}, {"type": "text", "text": self._sentence()}]
        message = {"jsonrpc": "2.0", "id": number, "result": {"content": content, "structuredContent": body}}
        return json.dumps(message, separators=(",", ":"), ensure_ascii=False) + "\n", exempt

    def _model(self, model: type[BaseModel], exempt: set[str]) -> dict[str, Any]:
        values = {name: self._value(field.annotation, name, exempt) for name, field in model.model_fields.items()}
        return {name: value for name, value in values.items() if value is not None}

    def _value(self, annotation: Any, name: str, exempt: set[str]) -> Any:
        rng, origin, parts = self._rng, get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return self._value(parts[0], name, exempt)
        if origin in (Union, types.UnionType):
            chosen = [part for part in parts if part is not type(None)]
            optional = len(chosen) < len(parts) and rng.random() < 0.3
            return None if optional else self._value(rng.choice(chosen), name, exempt)
        if origin is Literal:
            return rng.choice(parts)
        if origin in (list, tuple):
            return [self._value(parts[0], name, exempt) for _ in range(rng.randrange(4))]
        if origin is dict:
            # Ids among the arguments of a next step are as exact as those in fields.
            exempt.add(known := self.identifier())
            return {"card_id": known, "amount": rng.randrange(10**6)}
        if annotation is datetime:
            return self._moment()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return self._model(annotation, exempt)
        return self._leaf(annotation, name, exempt)

    def _leaf(self, annotation: Any, name: str, exempt: set[str]) -> Any:
        rng = self._rng
        if annotation is bool:
            return rng.random() < 0.5
        if annotation is int:
            return self._integer(name)
        if annotation is float:
            return rng.choice(
                [rng.uniform(0, 10), rng.uniform(0, 10**6), rng.randrange(10**9) / 100, 10 ** -rng.random()]
            )
        if isinstance(annotation, type) and issubclass(annotation, Verbatim):
            value = self._exact(name)
            exempt.add(value)
            return value
        return self._text(name)

    def _integer(self, name: str) -> int:
        rng = self._rng
        if "month" in name or "year" in name:
            return rng.randrange(1, 13) if "month" in name else rng.randrange(2026, 2040)
        if "chain" in name:
            return rng.choice([1, 10, 137, 8453, 42161, 11155111, 245022926])
        return rng.choice([rng.randrange(100), rng.randrange(10**6), rng.randrange(10**10)])

    def _exact(self, name: str) -> str:
        if "address" in name or name in ("call_target",):
            return self.address()
        if name in ("memo", "extra_id"):
            return str(self._rng.randrange(10**10))
        return self.identifier()

    def identifier(self) -> str:
        """Return an id as APIs make them."""
        rng = self._rng
        kinds: tuple[Callable[[], str], ...] = (
            lambda: str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            lambda: f"txn_{self._of(_BASE62, 24)}",
            lambda: f"quote_{rng.getrandbits(128):032x}",
            lambda: f"{rng.getrandbits(96):024x}",
            lambda: self._of("0123456789ABCDEFGHJKMNPQRSTVWXYZ", 26),
            lambda: str(rng.randrange(10**9)),
        )
        return rng.choice(kinds)()

    def address(self) -> str:
        """Return an address or a hash of some chain."""
        rng = self._rng
        kinds: tuple[Callable[[], str], ...] = (
            lambda: "0x" + rng.randbytes(20).hex(),
            lambda: "0x" + rng.randbytes(32).hex(),
            lambda: rng.randbytes(32).hex(),
            lambda: self._of(_BASE58, 44),
            lambda: "bc1q" + self._of(_BECH32, 38),
        )
        return rng.choice(kinds)()

    def _text(self, name: str) -> str:
        rng = self._rng
        if name in ("currency", "network", "to_currency", "id", "code"):
            return rng.choice(_CODES)
        if name == "last4":
            return f"{rng.randrange(10_000):04}"
        if "link" in name or name == "url":
            return f"https://example.com/terms/{rng.randrange(100)}?version={self._moment()[:10]}"
        return rng.choice([rng.choice(_WORDS), self._sentence(), f"{rng.choice(_WORDS)} {rng.randrange(10**5)}"])

    def _sentence(self) -> str:
        rng = self._rng
        return rng.choice(
            (
                f"${rng.randrange(10**9) / 100:,.2f} available to spend; ${rng.randrange(10**6) / 100:,.2f} due.",
                f"Withdraw ${rng.randrange(10**7) / 100:,.2f} as usdc on base to “{self.address()}”?",
                f"Quote quote_{rng.getrandbits(128):032x}, valid until {self._moment()}.",
                f"The user {uuid.UUID(int=rng.getrandbits(128), version=4)} has 2 cards.",
                f"Updated {self._moment()}, expires {self._moment()}.",
                f"The transaction {self.address()} has {rng.randrange(200)} confirmations.",
                f"From {self._moment()[:10]} to {self._moment()[:10]}: {rng.randrange(10**4):,} payments.",
                "at least 2 characters; at most 50 characters; matches ^[0-9A-Za-z-]{2,50}$",
                f"Terms of {self._moment()[:10]}, section {rng.randrange(20)}.{rng.randrange(9)}, call 1-800-555-0199.",
            )
        )

    def _moment(self) -> str:
        rng = self._rng
        at = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.uniform(0, 5 * 10**8))
        kinds: tuple[Callable[[], str], ...] = (
            at.isoformat,
            lambda: at.isoformat(timespec="seconds"),
            lambda: at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            lambda: f"{at:%Y-%m-%d %H:%M:%S} UTC",
            lambda: f"{at:%Y-%m-%d}",
        )
        return rng.choice(kinds)()

    def _of(self, alphabet: str, length: int) -> str:
        return "".join(self._rng.choice(alphabet) for _ in range(length))
