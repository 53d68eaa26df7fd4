"""Deposits (steps 8 and 9). Amounts are in units of their currency, not cents."""

from __future__ import annotations

from machines_mcp.partner.models.assets import AssetList, AssetQuery
from machines_mcp.partner.models.deposits import (
    CreateDepositBody,
    Deposit,
    DepositEstimate,
    DepositFilter,
    DepositList,
    DepositRange,
    DepositRoute,
    EstimateDepositBody,
)
from machines_mcp.partner.request import Request
from machines_mcp.partner.resources.base import Resource, idempotency_key_or_new, path_id
from machines_mcp.partner.scopes import DEPOSITS_READ, DEPOSITS_WRITE
from machines_mcp.partner.vocabulary import AmountCurrency, DepositScope
from machines_mcp.partner.waiting import WAIT_SECONDS, OnWait, wait_until_settled


class Deposits(Resource):
    """`/deposits`. Methods raise `PartnerError` and subclasses. `InvalidRequest` before sending names the field.

    The API says that deposits need no scope, but sessions request `deposits.read` and `deposits.write` anyway.
    """

    async def assets(self, user_id: str, *, q: str | None = None, limit: int | None = None) -> AssetList:
        """Search depositable assets by `q` (at most 120 characters), 1 to 100 of them: `GET /deposits/assets`."""
        query = AssetQuery(q=q, limit=limit).to_query()
        return await self._transport.call(user_id, DEPOSITS_READ, Request.get("/deposits/assets", query), AssetList)

    async def range(self, user_id: str, currency: str, network: str) -> DepositRange:
        """Return the minimum and maximum amount, in units of `currency`: `POST /deposits/range`."""
        request = Request.read_by_post("/deposits/range", DepositRoute(currency=currency, network=network).to_json())
        return await self._transport.call(user_id, DEPOSITS_READ, request, DepositRange, key="range")

    async def estimate(
        self, user_id: str, currency: str, network: str, amount: float, amount_currency: AmountCurrency = "crypto"
    ) -> DepositEstimate:
        """Estimate what arrives of `amount` (above 0, in `currency` units or US dollars): `POST /deposits/estimate`."""
        question = EstimateDepositBody(
            currency=currency, network=network, amount=amount, amount_currency=amount_currency
        )
        request = Request.read_by_post("/deposits/estimate", question.to_json())
        return await self._transport.call(user_id, DEPOSITS_READ, request, DepositEstimate, key="estimate")

    async def create(
        self,
        user_id: str,
        currency: str,
        network: str,
        *,
        amount: float | None = None,
        idempotency_key: str | None = None,
    ) -> Deposit:
        """Create a deposit: `POST /deposits`.

        `amount` is above 0, in units of `currency`. The key has 8 to 128 characters and is generated if None. The API
        does not document that it honours the key here.

        Raises:
            InvalidState: The agreements are not accepted.
            Conflict: With code `missing_contract`, which is retryable: the user's contract is not ready yet.
        """
        order = CreateDepositBody(currency=currency, network=network, amount=amount)
        key = idempotency_key_or_new(idempotency_key)
        request = Request.mutation("POST", "/deposits", order.to_json(), idempotency_key=key, keep_body=True)
        return await self._transport.call(user_id, DEPOSITS_WRITE, request, Deposit, key="deposit")

    async def get(self, user_id: str, deposit_id: str) -> Deposit:
        """Return one deposit (id of 8 to 128 characters): `GET /deposits/{depositId}`. Raises `NotFound`."""
        request = Request.get("/deposits/{depositId}", ids={"depositId": path_id(deposit_id, "deposit_id")})
        return await self._transport.call(user_id, DEPOSITS_READ, request, Deposit, key="deposit")

    async def wait(
        self, user_id: str, deposit_id: str, *, seconds: float = WAIT_SECONDS, on_wait: OnWait | None = None
    ) -> Deposit:
        """Poll `get` until the deposit is `settled`, at the interval the API asks for, for at most `seconds`.

        Returns the newest state, settled or not. `on_wait` is called before each pause with the elapsed share of the
        time, 0 to 1.
        """
        return await wait_until_settled(lambda: self.get(user_id, deposit_id), seconds=seconds, on_wait=on_wait)

    async def list(self, user_id: str, *, scope: DepositScope = "active") -> DepositList:
        """Return the recent active deposits, or all: `GET /deposits`."""
        request = Request.get("/deposits", DepositFilter(scope=scope).to_query())
        return await self._transport.call(user_id, DEPOSITS_READ, request, DepositList)
