"""Call every read endpoint once and compare each response with its model."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from machines_mcp.partner.client import PartnerClient
from machines_mcp.partner.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    KycRequired,
    NotFound,
    PartnerError,
    RateLimited,
    TransportError,
)
from machines_mcp.partner.models.assets import AssetList
from machines_mcp.partner.models.base import ReceivedResponse
from machines_mcp.partner.models.withdrawals import WithdrawalRoute
from machines_mcp.partner.schema_diff import Differences, differences
from machines_mcp.partner.scopes import Scope

T = TypeVar("T")

_READS: tuple[Scope, ...] = ("kyc.read", "cards.read", "encryption.read", "deposits.read", "transactions.read")
_BEYOND_KYC = (
    "GET /deposits/assets",
    "POST /deposits/range",
    "POST /deposits/estimate",
    "GET /deposits",
    "GET /deposits/{depositId}",
    "GET /withdrawals/assets",
    "POST /withdrawals/range",
    "POST /withdrawals/estimate",
    "GET /cards",
    "GET /cards/{cardId}",
    "GET /transactions",
    "GET /encryption/data-key",
)
_NEEDS_KYC = "skipped: the user's KYC is not approved"
_UNREACHABLE = "skipped: the API stopped responding"
_NOTHING_TO_QUERY = "skipped: there is nothing to query"


@dataclass(frozen=True, slots=True)
class EndpointResult:
    """The result for one endpoint. `status` is the HTTP code, or None if it was skipped or did not respond."""

    endpoint: str
    status: int | None
    differences: Differences = field(default_factory=Differences)
    note: str = ""
    failed: bool = False

    @property
    def ok(self) -> bool:
        """Whether no required field was missing or mistyped and the call did not fail otherwise."""
        return not (self.failed or self.differences.missing or self.differences.mistyped)


class Probe:
    """A run over the read endpoints. Create its client with `on_answer=probe.record`."""

    def __init__(self) -> None:
        self._results: dict[str, EndpointResult] = {}
        self._unreachable = False

    def record(self, answered: ReceivedResponse) -> None:
        """Compare a successful response with its model and store the result."""
        endpoint = f"{answered.request.method} {answered.request.path}"
        before = self._results.get(endpoint)
        found = differences(answered.model, answered.envelope.data, key=answered.key)
        self._results[endpoint] = EndpointResult(
            endpoint, answered.envelope.status, found | before.differences if before else found
        )

    async def run(self, client: PartnerClient, user_id: str) -> list[EndpointResult]:
        """Call every read-only endpoint for one user. Mints a session. Raises no `PartnerError`."""
        reads = await self._session(client, user_id)
        if reads:
            await self._onboarding(client, user_id)
        if reads == _READS:
            await self._funding(client, user_id)
            await self._withdrawing(client, user_id)
            await self._cards(client, user_id)
        elif reads:
            for endpoint in _BEYOND_KYC:
                self._skip(endpoint, _NEEDS_KYC)
        return list(self._results.values())

    async def _session(self, client: PartnerClient, user_id: str) -> tuple[Scope, ...]:
        for scopes in (_READS, _READS[:1]):
            try:
                await client.sessions.open(user_id, scopes)
            except KycRequired:
                continue
            except PartnerError as error:
                self._record_error("POST /sessions", error)
                return ()
            return scopes
        self._record_error("POST /sessions", KycRequired(status=409))
        return ()

    async def _onboarding(self, client: PartnerClient, user_id: str) -> None:
        await self._call("GET /kyc/values", lambda: client.kyc.values(user_id))
        await self._call("GET /kyc/status", lambda: client.kyc.status(user_id))
        await self._call("GET /agreements", lambda: client.agreements.get(user_id))
        await self._call("GET /balances", lambda: client.balances.get(user_id))

    async def _funding(self, client: PartnerClient, user_id: str) -> None:
        coin = _route(await self._call("GET /deposits/assets", lambda: client.deposits.assets(user_id)))
        if coin is None:
            self._skip("POST /deposits/range", _NOTHING_TO_QUERY)
            self._skip("POST /deposits/estimate", _NOTHING_TO_QUERY)
        else:
            bounds = await self._call("POST /deposits/range", lambda: client.deposits.range(user_id, *coin))
            amount = max(1.0, (bounds.min_amount if bounds else None) or 0.0)
            await self._call("POST /deposits/estimate", lambda: client.deposits.estimate(user_id, *coin, amount))
        deposits = await self._call("GET /deposits", lambda: client.deposits.list(user_id, scope="all"))
        first = next((each.id for each in (deposits.deposits if deposits else ()) if each.id), None)
        if first is not None:
            await self._call("GET /deposits/{depositId}", lambda: client.deposits.get(user_id, first))
        else:
            self._skip("GET /deposits/{depositId}", _NOTHING_TO_QUERY)

    async def _withdrawing(self, client: PartnerClient, user_id: str) -> None:
        coin = _route(await self._call("GET /withdrawals/assets", lambda: client.withdrawals.assets(user_id)))
        if coin is None:
            self._skip("POST /withdrawals/range", _NOTHING_TO_QUERY)
            self._skip("POST /withdrawals/estimate", _NOTHING_TO_QUERY)
            return

        async def bounded() -> int:
            bounds = await client.withdrawals.range(user_id, WithdrawalRoute(currency=coin[0], network=coin[1]))
            return bounds.min_amount_cents or 0

        least = await self._call("POST /withdrawals/range", bounded)
        cents = max(1000, math.ceil(least or 0))

        async def estimated() -> object:
            route = WithdrawalRoute(currency=coin[0], network=coin[1])
            return await client.withdrawals.estimate(user_id, route, cents)

        await self._call("POST /withdrawals/estimate", estimated)

    async def _cards(self, client: PartnerClient, user_id: str) -> None:
        page = await self._call("GET /cards", lambda: client.cards.list(user_id))
        first = next((card.card_id for card in (page.cards if page else ()) if card.card_id), None)
        if first is not None:
            await self._call("GET /cards/{cardId}", lambda: client.cards.get(user_id, first))
        else:
            self._skip("GET /cards/{cardId}", _NOTHING_TO_QUERY)
        await self._call("GET /transactions", lambda: client.transactions.list(user_id))
        await self._call("GET /encryption/data-key", lambda: client.encryption.data_key(user_id))

    async def _call(self, endpoint: str, call: Callable[[], Awaitable[T]]) -> T | None:
        if self._unreachable:
            self._skip(endpoint, _UNREACHABLE)
            return None
        try:
            return await call()
        except PartnerError as error:
            # Otherwise every remaining call would wait as long.
            self._unreachable = isinstance(error, TransportError)
            self._record_error(endpoint, error)
            return None

    def _record_error(self, endpoint: str, error: PartnerError) -> None:
        compared = self._results.get(endpoint)
        if compared is not None and not compared.ok:
            return
        if isinstance(error, InvalidRequest) and error.status is None:
            self._skip(endpoint, "skipped: a value from the API can't be sent back")
            return
        # These are due to the user's state, not to a change in the API.
        known = isinstance(error, Conflict | Forbidden | NotFound | RateLimited)
        status = compared.status if compared else error.status
        # The class's own code, because upstream's is untrusted text.
        self._results[endpoint] = EndpointResult(endpoint, status, note=error.default_code, failed=not known)

    def _skip(self, endpoint: str, note: str) -> None:
        self._results[endpoint] = EndpointResult(endpoint, None, note=note)


def _route(assets: AssetList | None) -> tuple[str, str] | None:
    """Pick a currency and network to query, preferably one without a memo."""
    found = [(a.ticker, n.id, n) for a in (assets.assets if assets else ()) for n in a.networks]
    routes = [(ticker, network, bool(n.supports_extra_id)) for ticker, network, n in found if ticker and network]
    return min(routes, key=lambda route: route[2])[:2] if routes else None
