"""Account transactions."""

from __future__ import annotations

from collections.abc import Iterable

from machines_mcp.partner.models.transactions import TransactionPage, TransactionQuery
from machines_mcp.partner.request import Request
from machines_mcp.partner.resources.base import Resource
from machines_mcp.partner.scopes import TRANSACTIONS_READ
from machines_mcp.partner.vocabulary import TransactionType


class Transactions(Resource):
    """`/transactions`."""

    async def list(
        self,
        user_id: str,
        *,
        cursor: str | None = None,
        limit: int | None = None,
        card_id: str | None = None,
        types: Iterable[TransactionType] = (),
    ) -> TransactionPage:
        """Return a page of 1 to 100 transactions: `GET /transactions`. Scope `transactions.read`.

        `cursor` is `next_cursor` of the page before, `card_id` a UUID. Empty `types` means all. Amounts are in cents.

        Raises:
            InvalidRequest: The client or the API refused an argument.
            PartnerError: Any other failure.
        """
        query = TransactionQuery(cursor=cursor, limit=limit, card_id=card_id, types=tuple(types)).to_query()
        request = Request.get("/transactions", query)
        return await self._transport.call(user_id, TRANSACTIONS_READ, request, TransactionPage)
