"""The checks that a plan must pass. Each has a name, under which the result lists it as verified or not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from machines_mcp.chain.faults import CheckFailed, Expired, Malformed
from machines_mcp.chain.order import CONTROLLER, COORDINATOR, SOLANA, Order, same_address
from machines_mcp.chain.terms import Approved, KnownChain

NAMES: Final = (
    "approved",
    "alive",
    "path",
    "target",
    "chain",
    "token",
    "amount",
    "recipient",
    "calldata",
    "admin",
    "signature",
    "nonce",
    "simulated",
)
# The policy's entry of the chain stands in for the reads of the chain, so in production these must be made.
_OF_POLICY: Final = frozenset({"chain", "target", "token", "amount"})
# The tokens that hold collateral have 6 decimals, as far as is known.
_USUAL_DECIMALS: Final = 6
_AGREEING_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What a plan is made of and checked against."""

    answer: Mapping[str, Any]
    """The API's answer as it is stored, in snake case."""
    approved: Approved
    consumed: bool
    """Whether the approval was granted, and used for this withdrawal."""
    now: float
    """In epoch seconds."""
    known: KnownChain | None
    """The policy's entry of the chain; None if the policy names no chains."""
    production: bool
    given_nonce: int | None = None
    """The nonce from the caller, used only if no node can be asked."""
    signature: bytes | None = None
    """The admin's signature of the typed data."""
    signed_nonce: int | None = None
    """The nonce of the last plan of this withdrawal."""


class Checks:
    """The results of the checks of one plan. In `production`, a check that could not be made may refuse it, too."""

    def __init__(self, *, production: bool) -> None:
        self._production = production
        self._results: dict[str, bool] = {}

    def require(self, check: str, holds: bool | None, expected: str, setting: str = "") -> None:
        """Record a part of a check. None: it could not be made.

        Raises:
            CheckFailed: It does not hold, or could not be made although it must be.
        """
        if holds is False or (holds is None and self._production and check in _OF_POLICY):
            raise CheckFailed(check, expected, setting)
        self._results[check] = self._results.get(check, True) and holds is True

    @property
    def verified(self) -> tuple[str, ...]:
        """The checks that hold."""
        return tuple(name for name in NAMES if self._results.get(name) is True)

    @property
    def not_verified(self) -> tuple[str, ...]:
        """The checks that could not be made, or only in part. Those of a later stage are in neither list."""
        return tuple(name for name in NAMES if self._results.get(name) is False)


def check_order(checks: Checks, request: PlanRequest, order: Order) -> None:
    """Make the checks that need nothing but the request: approved, alive, target, chain and recipient.

    Raises:
        Expired: The signature has expired.
        CheckFailed: Another check failed.
    """
    checks.require("approved", request.consumed, "an approval that a person granted and this withdrawal used")
    _check_alive(checks, request, order)
    execution = request.answer.get("execution") or {}
    _check_chain(checks, request.known, order)
    _check_target(checks, request.known, execution, order)
    _check_recipient(checks, request, order)


def check_token(checks: Checks, request: PlanRequest, order: Order, decimals: int | None) -> None:
    """Make the checks of the token and the amount. `decimals` is what the chain says; None if it was not asked."""
    known, setting = request.known, f"chain.{order.chain_id}.tokens"
    listed = _listed_decimals(known, order.token)
    if known is not None and known.tokens:
        checks.require("token", listed is not None, "a token that the policy lists for this chain", setting)
        agree = decimals is None or decimals == listed
        checks.require("token", agree, "the decimals in the policy to be those of the token's contract", setting)
    else:
        checks.require("token", None, "a token that the policy lists for this chain", setting)
    found = listed if listed is not None else decimals
    units = _units(request.approved.amount_cents, _USUAL_DECIMALS if found is None else found)
    checks.require("amount", order.amount == units, "exactly the approved amount, in units of the token", setting)
    if found is None:
        checks.require("amount", None, "a token whose decimals are known", setting)


def _check_alive(checks: Checks, request: PlanRequest, order: Order) -> None:
    if request.now >= order.expires_at:
        raise Expired
    signature = request.answer.get("signature")
    said = [("expiresAt", request.answer.get("expires_at"))]
    if isinstance(signature, Mapping):
        said.append(("signature.expiresAt", signature.get("expiresAt")))
    for position, value in said:
        agrees = value is None or abs(_seconds(value, position) - order.expires_at) <= _AGREEING_SECONDS
        checks.require("alive", agrees, "the two times of expiry in the answer to agree within 60 seconds")


def _check_chain(checks: Checks, known: KnownChain | None, order: Order) -> None:
    named = None if known is None else bool(known.targets)
    checks.require("chain", named, "a chain that the policy names", f"chain.{order.chain_id}")


def _check_target(checks: Checks, known: KnownChain | None, execution: Mapping[str, Any], order: Order) -> None:
    names = {CONTROLLER: ("controller_address",), COORDINATOR: ("coordinator_address",)}
    entries = [execution.get(name) for name in names.get(order.path, ("controller_address", "coordinator_address"))]
    proxies = (order.collateral, execution.get("collateral_proxy_address"))
    checks.require(
        "target",
        # On Solana it is the program that owns the collateral account, which is read.
        order.path == SOLANA or any(same_address(order.target, entry) for entry in entries),
        "the contract to call to be the controller or the coordinator of the withdrawal",
    )
    checks.require(
        "target",
        not any(same_address(order.target, proxy) for proxy in proxies),
        "the contract to call not to be the collateral itself",
    )
    collateral = execution.get("collateral_proxy_address")
    checks.require(
        "target",
        collateral is None or same_address(order.collateral, collateral),
        "the collateral in the parameters to be that of the withdrawal",
    )
    listed = None if known is None else any(same_address(order.target, target) for target in known.targets)
    checks.require("target", listed, "a contract that the policy lists", f"chain.{order.chain_id}.targets")


def _check_recipient(checks: Checks, request: PlanRequest, order: Order) -> None:
    relay, approved = request.answer.get("relay"), request.approved
    if relay is None:
        checks.require("recipient", same_address(order.recipient, approved.address), "the approved address")
        checks.require("recipient", approved.extra_id is None, "no memo, because no transaction has room for one")
        return
    if not isinstance(relay, Mapping):
        raise Malformed("relay")
    checks.require(
        "recipient", same_address(order.recipient, relay.get("payin_address")), "the address of the exchange"
    )
    checks.require(
        "recipient",
        relay.get("payin_extra_id") is None,
        "an exchange that needs no memo, because no transaction has room for one",
    )
    checks.require(
        "recipient", same_address(relay.get("payout_address"), approved.address), "the exchange to pay the address"
    )
    checks.require("recipient", relay.get("payout_extra_id") == approved.extra_id, "the exchange to pay with the memo")
    for name, word in (("to_currency", approved.currency), ("to_network", approved.network)):
        checks.require("recipient", _same_word(relay.get(name), word), "the exchange to pay the currency and network")
    changes = [
        not _same_word(relay.get(f"from_{name}"), str(relay.get(f"to_{name}"))) for name in ("currency", "network")
    ]
    # Otherwise the address of an exchange could take the place of the approved one.
    checks.require("recipient", any(changes), "an exchange only where the currency or the network changes")
    # Only the API says whose address it is, and nobody approved it.
    checks.require("recipient", None, "an address of the exchange")


def _listed_decimals(known: KnownChain | None, token: str) -> int | None:
    tokens = {} if known is None else known.tokens
    return next((decimals for address, decimals in tokens.items() if same_address(address, token)), None)


def _units(cents: int, decimals: int) -> int | None:
    return cents * 10 ** (decimals - 2) if 2 <= decimals <= 36 else None


def _seconds(value: object, position: str) -> float:
    """Return the epoch seconds of a time: a number, its digits, or ISO 8601."""
    if isinstance(value, str) and re.fullmatch("[0-9]{1,12}", value):
        return int(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    try:
        found = datetime.fromisoformat(value if isinstance(value, str) else "")
        return (found.replace(tzinfo=UTC) if found.tzinfo is None else found).timestamp()
    except (ValueError, OverflowError):
        raise Malformed(position) from None


def _same_word(one: object, other: str) -> bool:
    return isinstance(one, str) and one.casefold() == other.casefold()
