"""Withdrawals. Amounts are in US cents."""

from __future__ import annotations

from machines_mcp.partner.models.assets import AssetList, AssetQuery
from machines_mcp.partner.models.withdrawals import (
    Withdrawal,
    WithdrawalEstimate,
    WithdrawalOrder,
    WithdrawalRange,
    WithdrawalRoute,
)
from machines_mcp.partner.request import Request
from machines_mcp.partner.resources.base import Resource, idempotency_key_or_new
from machines_mcp.partner.scopes import WITHDRAWALS_READ, WITHDRAWALS_WRITE


class Withdrawals(Resource):
    """`/withdrawals`. Methods raise `PartnerError` and subclasses. `InvalidRequest` before sending names the field.

    Reads need `deposits.read`, orders `withdrawals.write`.
    """

    async def assets(
        self,
        user_id: str,
        *,
        q: str | None = None,
        limit: int | None = None,
        source_chain_id: int | None = None,
        source_token_address: str | None = None,
    ) -> AssetList:
        """Return 1 to 100 assets that can be paid out, the source as a hint: `GET /withdrawals/assets`."""
        query = AssetQuery(
            q=q, limit=limit, source_chain_id=source_chain_id, source_token_address=source_token_address
        ).to_query()
        return await self._transport.call(
            user_id, WITHDRAWALS_READ, Request.get("/withdrawals/assets", query), AssetList
        )

    async def range(self, user_id: str, route: WithdrawalRoute) -> WithdrawalRange:
        """Return the minimum and maximum amount of a route: `POST /withdrawals/range`."""
        request = Request.read_by_post("/withdrawals/range", route.range_body())
        return await self._transport.call(user_id, WITHDRAWALS_READ, request, WithdrawalRange, key="range")

    async def estimate(self, user_id: str, route: WithdrawalRoute, amount_cents: int) -> WithdrawalEstimate:
        """Estimate what arrives of `amount_cents` (1 or more): `POST /withdrawals/estimate`."""
        request = Request.read_by_post("/withdrawals/estimate", route.estimate_body(amount_cents))
        return await self._transport.call(user_id, WITHDRAWALS_READ, request, WithdrawalEstimate, key="estimate")

    async def create(self, user_id: str, order: WithdrawalOrder, *, idempotency_key: str) -> Withdrawal:
        """Request a signed withdrawal: `POST /withdrawals`.

        While the response is `pending`, poll by sending the same order with the same key (8 to 128 characters). A user
        can have one live signature, which blocks further ones until it is used or expires.

        Raises:
            InvalidState: The agreements are not accepted.
            PartnerError: `outcome_known` is False if a signature may have been created.
        """
        key = idempotency_key_or_new(idempotency_key)
        request = Request.mutation("POST", "/withdrawals", order.to_json(), idempotency_key=key)
        return await self._transport.call(user_id, WITHDRAWALS_WRITE, request, Withdrawal)
