"""Withdrawal routes: the paying contract, the destination asset and network, and whether an exchange is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from machines_mcp.sandbox import assets
from machines_mcp.sandbox.assets import Pair
from machines_mcp.sandbox.contracts import Contract, contracts_of
from machines_mcp.sandbox.fields import MAX_CENTS, Fields

if TYPE_CHECKING:
    from machines_mcp.sandbox.call import Call


@dataclass(frozen=True)
class Route:
    """The route from the paying contract to the destination asset."""

    contract: Contract
    to: Pair
    extra_id: str | None

    @property
    def exchanged(self) -> bool:
        return self.to != self.contract.settled

    @property
    def bounds(self) -> tuple[int, int | None]:
        """Minimum and maximum in cents."""
        return (5_00, 50_000_00) if self.exchanged else (1_00, None)


def route_of(call: Call, fields: Fields) -> Route:
    """Return the route for `destination` and `source` of a request."""
    destination = fields.child("destination")
    to = assets.pair_of(destination)
    extra_id = destination.optional_text("extraId", most=120)
    if extra_id is not None and not to.network.memo:
        destination.refuse("extraId", "must not be given for this network")
    source = fields.optional_child("source") or Fields({})
    return Route(source_contract(call, source), to, extra_id)


def source_contract(call: Call, source: Fields) -> Contract:
    """Return the contract that the source hints select; the default one without hints."""
    chain_id = source.optional_integer("chainId", least=1, most=2**53)
    token = source.optional_text("tokenAddress", most=200)
    contract_id = source.optional_text("contractId", most=200)
    contracts = contracts_of(call.user)
    if chain_id is not None:
        contracts = tuple(contract for contract in contracts if contract.chain_id == chain_id)
        if not contracts:
            source.refuse("chainId", "must be a chain that holds collateral", code="chain_not_supported")
    if token is not None:
        contracts = tuple(contract for contract in contracts if contract.token.lower() == token.lower())
        if not contracts:
            source.refuse("tokenAddress", "must be a token held as collateral on that chain")
    if contract_id is not None:
        contracts = tuple(contract for contract in contracts if contract.contract_id == contract_id)
        if not contracts:
            source.refuse("contractId", "must be a contract of this user")
    return contracts[0]


def amount_of(fields: Fields, route: Route) -> int:
    """Return the requested cents, checked against the bounds of the route."""
    cents = fields.integer("amountCents", least=1, most=MAX_CENTS)
    least, most = route.bounds
    if cents < least or (most is not None and cents > most):
        fields.refuse("amountCents", "must be within the range of this route")
    return cents


def range_of(route: Route) -> dict[str, Any]:
    """Return the route as `data.range`, which estimates include too."""
    least, most = route.bounds
    settled = route.contract.settled
    return {
        "fromCurrency": settled.ticker,
        "fromNetwork": settled.network.id,
        "toCurrency": route.to.ticker,
        "toNetwork": route.to.network.id,
        "minAmount": least / 100,
        "maxAmount": None if most is None else most / 100,
        "minAmountCents": least,
        "maxAmountCents": most,
        "destinationSupportsExtraId": route.to.network.memo,
    }
