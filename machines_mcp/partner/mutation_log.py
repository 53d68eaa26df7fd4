"""The log that a client calls before and after each mutation, so that its outcome can be reconciled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Outcome = Literal["done", "rejected", "unknown", "unsent"]
"""`done`: it took effect. `rejected`: the API refused it. `unknown`: it may have. `unsent`: nothing was sent."""


@dataclass(frozen=True, slots=True, repr=False)
class Mutation:
    """A change about to be requested. `operation` is method and path template: `PATCH /cards/{cardId}`."""

    user_id: str | None
    operation: str
    idempotency_key: str | None
    body: bytes | None
    keep_body: bool
    """Whether the body is free of identity data and may be stored. If not, store at most a keyed hash."""
    ids: Mapping[str, str]


class MutationLog(Protocol):
    """Stores mutations so that they survive a crash. Passed as `PartnerClient(mutations=...)`."""

    async def begin(self, mutation: Mutation) -> str:
        """Store it on disk before the first byte is sent, and return its id. If this raises, nothing is sent.

        An idempotency key that was begun before marks another attempt at the same mutation.
        """

    def sent(self, entry_id: str) -> None:
        """Record that the whole request was sent. May be called more than once; must not block or raise."""

    async def end(
        self, entry_id: str, outcome: Outcome, *, reference: str | None = None, status: int | None = None
    ) -> None:
        """Store the outcome, the id of the created resource (`reference`) and the HTTP `status`. Never raises."""
