"""What can be spent (step 9)."""

from __future__ import annotations

from machines_mcp.partner.models.balances import Balances
from machines_mcp.partner.request import Request
from machines_mcp.partner.resources.base import Resource
from machines_mcp.partner.scopes import BALANCES_READ


class BalancesResource(Resource):
    """`/balances`."""

    async def get(self, user_id: str) -> Balances:
        """The user's balances in US cents, some minutes old after a deposit: `GET /balances`. Any session will do.

        Raises:
            PartnerError: Any of the tree.
        """
        return await self._channel.call(user_id, BALANCES_READ, Request.get("/balances"), Balances, inside="balances")
