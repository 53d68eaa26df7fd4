"""What happened on the account."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from machines_mcp.partner.models.base import Answer, Body
from machines_mcp.partner.models.types import Cents, Cursor, Moment, PageSize, Uuid
from machines_mcp.redaction.verbatim import VerbatimField

TransactionType = Literal["spend", "collateral", "payment", "fee"]


class Transaction(Answer):
    """One movement, in cents of `currency`. `status` and `merchant_name` are free texts of others."""

    transaction_id: VerbatimField
    type: TransactionType | str
    status: str
    amount_cents: Cents
    currency: str
    created_at: Moment
    merchant_name: str | None = None
    card_id: VerbatimField | None = None


class TransactionPage(Answer):
    """Some of them; `next_cursor` is None on the last page, and where the API doesn't say."""

    transactions: tuple[Transaction, ...]
    next_cursor: VerbatimField | None = None


class TransactionQuery(Body):
    """The query of `GET /transactions`. A page has at most 100: the API's pages disagree between that and 200."""

    cursor: Cursor | None = None
    limit: PageSize | None = None
    card_id: Uuid | None = None
    types: Annotated[tuple[TransactionType, ...], Field(serialization_alias="type")] = ()

    def wire(self) -> dict[str, Any]:
        """The query's values, `types` joined by commas."""
        flat = super().wire()
        types = ",".join(flat.pop("type"))
        return flat | {"type": types} if types else flat
