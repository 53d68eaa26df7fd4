"""What a client tells of each mutation before it is sent and after, so that who keeps it can say what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Outcome = Literal["done", "rejected", "unknown", "unsent"]
"""It happened; the API said no; nobody knows; nothing went out."""


@dataclass(frozen=True, slots=True, repr=False)
class Mutation:
    """One change that is about to be asked for. `operation` is method and path template: `PATCH /cards/{cardId}`."""

    user_id: str | None
    operation: str
    idempotency_key: str | None
    body: bytes | None
    keep_body: bool
    """Whether the body holds no identity data and so may be stored; of any other only a keyed hash may be."""
    ids: Mapping[str, str]


class MutationLog(Protocol):
    """Keeps mutations across a crash; `PartnerClient(mutations=...)` tells it of each."""

    async def begin(self, mutation: Mutation) -> str:
        """Keep it, on disk, before the first byte is sent, and return its id. Where this raises, nothing is sent.

        A key that was begun already is another attempt at the same mutation.
        """

    def sent(self, entry_id: str) -> None:
        """All of it went out and the answer is waited for. May be told more than once; must not block or raise."""

    async def end(
        self, entry_id: str, outcome: Outcome, *, reference: str | None = None, status: int | None = None
    ) -> None:
        """Keep what became of it; `reference` is the id of what was made, `status` the HTTP status. Never raises."""
