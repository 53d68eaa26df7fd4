"""What a withdrawal's response must repeat of its order. What is signed must be compared, or it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from machines_mcp.partner.binding import Condition, Rule, present
from machines_mcp.partner.same_value import (
    has_one_transaction,
    is_account,
    is_text,
    is_transaction,
    never,
    on_network,
    same_account,
    same_cents_on_chain,
    same_word,
)

# For values of which the order has nothing to compare: their form is checked.
_STATUS = "response.status"


def payout_route(key: str, *, required: bool = True) -> tuple[Rule, ...]:
    """Return the rules for the currency and network that arrive."""
    return (
        Rule(f"{key}.toCurrency", "body.destination.currency", same_word, required=required),
        Rule(f"{key}.toNetwork", "body.destination.network", same_word, required=required),
    )


def _relayed(data: Mapping[str, Any]) -> bool:
    return present(data, "relay")


def _direct(data: Mapping[str, Any]) -> bool:
    return not _relayed(data)


def _signed(data: Mapping[str, Any]) -> bool:
    """Whether there is a transaction to send. While it is `pending`, everything else may be missing."""
    if data.get("status") == "pending":
        return False
    return data.get("status") == "ready" or present(data, "parameters") or present(data, "signature.parameters")


def _signed_relay(data: Mapping[str, Any]) -> bool:
    return _signed(data) and _relayed(data)


def _signed_direct(data: Mapping[str, Any]) -> bool:
    return _signed(data) and _direct(data)


def _in_parameters(data: Mapping[str, Any]) -> bool:
    return _signed(data) and not present(data, "signature.parameters")


def _transaction(parameters: str, required: bool | Condition) -> tuple[Rule, ...]:
    """Return the rules for the seven parameters of the transaction."""
    proxy, payin = "response.execution.collateralProxyAddress", "response.relay.payinAddress"
    return (
        Rule(parameters, _STATUS, is_transaction, required=required),
        Rule(f"{parameters}[0/7]", proxy, same_account, required=False),
        Rule(f"{parameters}[1/7]", "body.source.tokenAddress", same_account, required=False),
        Rule(f"{parameters}[2/7]", "body.amountCents", same_cents_on_chain, required=False),
        Rule(f"{parameters}[3/7]", payin, same_account, required=False, when=_relayed),
        Rule(f"{parameters}[3/7]", "body.destination.address", same_account, required=False, when=_direct),
    )


WITHDRAWAL_RULES: Final = (
    Rule("relay.payoutAddress", "body.destination.address", same_account, required=_relayed),
    Rule("relay.payoutExtraId", "body.destination.extraId", required=_relayed, exact=True),
    *payout_route("relay", required=False),
    Rule("relay.payinAddress", _STATUS, is_account, required=_signed_relay),
    # No parameter of the transaction has room for a memo.
    Rule("relay.payinExtraId", _STATUS, never, required=False),
    Rule("relay.fromNetwork", _STATUS, is_text, required=_signed_relay),
    Rule("execution.chainId", "body.source.chainId", required=_signed),
    Rule("execution.chainId", "response.relay.fromNetwork", on_network, required=_signed),
    Rule("execution.chainId", "body.destination.network", on_network, when=_signed_direct),
    Rule("execution.contractId", "body.source.contractId", required=False),
    Rule("execution.callTarget", _STATUS, is_account, required=False),
    *_transaction("parameters", _in_parameters),
    *_transaction("signature.parameters", required=False),
    Rule("signature", _STATUS, has_one_transaction, required=False),
)
