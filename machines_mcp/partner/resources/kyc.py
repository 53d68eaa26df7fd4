"""The identity check (steps 3 to 6)."""

from __future__ import annotations

from machines_mcp.partner.models.kyc import KycApplication, KycStatus, KycValues
from machines_mcp.partner.request import Request
from machines_mcp.partner.resources.base import Resource
from machines_mcp.partner.scopes import KYC_READ, KYC_WRITE
from machines_mcp.partner.waiting import WAIT_SECONDS, OnWait, wait_until_settled


class Kyc(Resource):
    """`/kyc`. Every method raises `PartnerError` and its kinds."""

    async def values(self, user_id: str) -> KycValues:
        """The form's fields and the values it takes: `GET /kyc/values`. Scope `kyc.read`."""
        return await self._channel.call(user_id, KYC_READ, Request.get("/kyc/values"), KycValues)

    async def submit(self, user_id: str, application: KycApplication) -> KycStatus:
        """Hand in the form: `POST /kyc/applications`. Scope `kyc.write`.

        Raises:
            InvalidRequest: The API refused a field; `field` names it where it is a plain name.
            InvalidState: There is an application already that can't be replaced.
        """
        request = Request.change("POST", "/kyc/applications", application.wire())
        return await self._channel.call(user_id, KYC_WRITE, request, KycStatus)

    async def status(self, user_id: str) -> KycStatus:
        """Where the check stands: `GET /kyc/status`. Scope `kyc.read`. `hint.poll_after_ms` says when to ask again."""
        return await self._channel.call(user_id, KYC_READ, Request.get("/kyc/status"), KycStatus)

    async def wait(self, user_id: str, *, seconds: float = WAIT_SECONDS, on_wait: OnWait | None = None) -> KycStatus:
        """`status` until it is `settled`, asked as often as the API wants, for at most `seconds`.

        Answers with the newest status, settled or not. `on_wait` is told before each pause which share of the time is
        over.
        """
        return await wait_until_settled(lambda: self.status(user_id), seconds=seconds, on_wait=on_wait)
