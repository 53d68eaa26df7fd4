"""The agreements (step 7)."""

from __future__ import annotations

from machines_mcp.partner.models.agreements import Agreements, AgreementsAcceptance
from machines_mcp.partner.request import Request
from machines_mcp.partner.resources.base import Resource
from machines_mcp.partner.scopes import AGREEMENTS_READ, AGREEMENTS_WRITE


class AgreementsResource(Resource):
    """`/agreements`. Until KYC is approved both methods raise `KycRequired`, or `InvalidState` where the API says less.

    Any other failure is a `PartnerError` as well.
    """

    async def get(self, user_id: str) -> Agreements:
        """The texts, and whether they are accepted: `GET /agreements`. A session with `kyc.read`."""
        return await self._channel.call(user_id, AGREEMENTS_READ, Request.get("/agreements"), Agreements)

    async def accept(self, user_id: str) -> Agreements:
        """Accept all of them: `POST /agreements`. A session with `kyc.read` and `kyc.write`."""
        request = Request.change("POST", "/agreements", AgreementsAcceptance().wire())
        return await self._channel.call(user_id, AGREEMENTS_WRITE, request, Agreements)
