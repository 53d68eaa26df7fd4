"""What happened on the account."""

from __future__ import annotations

from collections.abc import Iterable

from machines_mcp.partner.models.transactions import TransactionPage, TransactionQuery, TransactionType
from machines_mcp.partner.request import Request
from machines_mcp.partner.resources.base import Resource
from machines_mcp.partner.scopes import TRANSACTIONS_READ


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
        """Movements in cents, 1 to 100 a page: `GET /transactions`. Scope `transactions.read`.

        `cursor` is `next_cursor` of the last page, `card_id` a UUID, `types` none for all.

        Raises:
            InvalidRequest: An argument breaks its rule, here or at the API.
            PartnerError: Any other of the tree.
        """
        query = TransactionQuery(cursor=cursor, limit=limit, card_id=card_id, types=tuple(types)).query()
        request = Request.get("/transactions", query)
        return await self._channel.call(user_id, TRANSACTIONS_READ, request, TransactionPage)
