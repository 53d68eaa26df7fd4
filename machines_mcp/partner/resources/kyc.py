"""KYC (steps 3 to 6)."""

from __future__ import annotations

from machines_mcp.partner.models.kyc import KycApplication, KycStatus, KycValues
from machines_mcp.partner.request import Request
from machines_mcp.partner.resources.base import Resource
from machines_mcp.partner.scopes import KYC_READ, KYC_WRITE
from machines_mcp.partner.waiting import WAIT_SECONDS, OnWait, wait_until_settled


class Kyc(Resource):
    """`/kyc`. Methods raise `PartnerError` and subclasses."""

    async def values(self, user_id: str) -> KycValues:
        """Return the form's fields and their allowed values: `GET /kyc/values`. Scope `kyc.read`."""
        return await self._transport.call(user_id, KYC_READ, Request.get("/kyc/values"), KycValues)

    async def submit(self, user_id: str, application: KycApplication) -> KycStatus:
        """Submit an application: `POST /kyc/applications`. Scope `kyc.write`.

        Raises:
            InvalidRequest: The API refused a field; `field` names it if it is a plain name.
            InvalidState: An earlier application can't be replaced.
        """
        request = Request.mutation("POST", "/kyc/applications", application.to_json())
        return await self._transport.call(user_id, KYC_WRITE, request, KycStatus)

    async def status(self, user_id: str) -> KycStatus:
        """Return the KYC status: `GET /kyc/status`. Scope `kyc.read`. `hint.poll_after_ms` says when to poll."""
        return await self._transport.call(user_id, KYC_READ, Request.get("/kyc/status"), KycStatus)

    async def wait(self, user_id: str, *, seconds: float = WAIT_SECONDS, on_wait: OnWait | None = None) -> KycStatus:
        """Poll `status` until it is `settled`, at the interval the API asks for, for at most `seconds`.

        Returns the newest status, settled or not. `on_wait` is called before each pause with the elapsed share of the
        time, 0 to 1.
        """
        return await wait_until_settled(lambda: self.status(user_id), seconds=seconds, on_wait=on_wait)
