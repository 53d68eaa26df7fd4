"""Agreements (step 7)."""

from __future__ import annotations

from machines_mcp.partner.models.agreements import Agreements, AgreementsAcceptance
from machines_mcp.partner.request import Request
from machines_mcp.partner.resources.base import Resource
from machines_mcp.partner.scopes import AGREEMENTS_READ, AGREEMENTS_WRITE


class AgreementsResource(Resource):
    """`/agreements`. Before KYC approval, both raise `KycRequired`, or `InvalidState` if the API does not mention KYC.

    Any other failure is a `PartnerError` too.
    """

    async def get(self, user_id: str) -> Agreements:
        """Return the agreements and whether they are accepted: `GET /agreements`. Scope `kyc.read`."""
        return await self._transport.call(user_id, AGREEMENTS_READ, Request.get("/agreements"), Agreements)

    async def accept(self, user_id: str) -> Agreements:
        """Accept all agreements: `POST /agreements`. Scopes `kyc.read` and `kyc.write`."""
        request = Request.mutation("POST", "/agreements", AgreementsAcceptance().to_json())
        return await self._transport.call(user_id, AGREEMENTS_WRITE, request, Agreements)
