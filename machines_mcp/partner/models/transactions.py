"""Account transactions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from machines_mcp.partner.models.base import RequestModel, ResponseModel, documented
from machines_mcp.partner.models.types import (
    Cents,
    Cursor,
    GivenId,
    Moment,
    OwnId,
    PageCursor,
    PageSize,
    RecordId,
    Rows,
)
from machines_mcp.partner.vocabulary import TransactionType


class Transaction(ResponseModel):
    """A transaction, in cents of `currency`. `status` and `merchant_name` are untrusted free text.

    Documented fields may be absent: one odd transaction must not hide the others.
    """

    transaction_id: OwnId | None = documented()
    type: TransactionType | str | None = documented()
    status: str | None = documented()
    amount_cents: Cents | None = documented()
    currency: str | None = documented()
    created_at: Moment | None = documented()
    merchant_name: str | None = None
    card_id: RecordId | None = None


class TransactionPage(ResponseModel):
    """A page of transactions. `next_cursor` is None on the last page, or if the API sends none."""

    transactions: Rows[Transaction]
    next_cursor: PageCursor | None = None


class TransactionQuery(RequestModel):
    """Query of `GET /transactions`. A page has at most 100, because the API's docs give both 100 and 200."""

    cursor: Cursor | None = None
    limit: PageSize | None = None
    card_id: GivenId | None = None
    types: Annotated[tuple[TransactionType, ...], Field(serialization_alias="type")] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the query's values, with `types` joined by commas."""
        flat = super().to_json()
        types = ",".join(flat.pop("type"))
        return flat | {"type": types} if types else flat
