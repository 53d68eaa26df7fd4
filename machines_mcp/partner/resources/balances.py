"""Balances (step 9)."""

from __future__ import annotations

from machines_mcp.partner.models.balances import Balances
from machines_mcp.partner.request import Request
from machines_mcp.partner.resources.base import Resource
from machines_mcp.partner.scopes import BALANCES_READ


class BalancesResource(Resource):
    """`/balances`."""

    async def get(self, user_id: str) -> Balances:
        """Return the user's balances in US cents; a deposit shows after some minutes: `GET /balances`. Any scope.

        Raises:
            PartnerError: Any failure.
        """
        return await self._transport.call(user_id, BALANCES_READ, Request.get("/balances"), Balances, key="balances")
