"""Account transactions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from machines_mcp.partner.models.base import RequestModel, ResponseModel
from machines_mcp.partner.models.types import Cents, Cursor, Moment, PageSize, Uuid
from machines_mcp.partner.vocabulary import TransactionType
from machines_mcp.redaction.verbatim import VerbatimField


class Transaction(ResponseModel):
    """A transaction, in cents of `currency`. `status` and `merchant_name` are untrusted free text."""

    transaction_id: VerbatimField
    type: TransactionType | str
    status: str
    amount_cents: Cents
    currency: str
    created_at: Moment
    merchant_name: str | None = None
    card_id: VerbatimField | None = None


class TransactionPage(ResponseModel):
    """A page of transactions. `next_cursor` is None on the last page, or if the API sends none."""

    transactions: tuple[Transaction, ...]
    next_cursor: VerbatimField | None = None


class TransactionQuery(RequestModel):
    """Query of `GET /transactions`. A page has at most 100, because the API's docs give both 100 and 200."""

    cursor: Cursor | None = None
    limit: PageSize | None = None
    card_id: Uuid | None = None
    types: Annotated[tuple[TransactionType, ...], Field(serialization_alias="type")] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the query's values, with `types` joined by commas."""
        flat = super().to_json()
        types = ",".join(flat.pop("type"))
        return flat | {"type": types} if types else flat
