"""The scenes of the demo: one call each, in the order of the guide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from machines_mcp.tools.example_identity import IDENTITY

USER = "demo-user"
Results = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Scene:
    """One call: the guide's step numbers, the tool, its purpose, and its arguments built from earlier results."""

    steps: tuple[int, ...]
    tool: str
    purpose: str
    arguments: Callable[[Results], dict[str, Any]] = lambda _: {}


SCENES: tuple[Scene, ...] = (
    Scene((1,), "create_session", "a session for the identity check only", lambda r: {"purpose": "kyc"}),
    Scene((2,), "resolve_user", "register the user at Machines"),
    Scene((3,), "get_kyc_requirements", "the identity data it requires", lambda r: {}),
    Scene((4,), "submit_kyc", "sent; the demo approves it", lambda r: dict(IDENTITY)),
    Scene((5, 6), "get_kyc_status", "status of the identity check", lambda r: {"wait_seconds": 10}),
    Scene((7,), "get_agreements", "the terms to accept"),
    Scene((7,), "accept_agreements", "accepted; the demo approves it"),
    Scene((8,), "list_deposit_assets", "supported currencies and networks"),
    Scene((8,), "quote_deposit", "range and estimate", lambda r: asset_of(r) | {"amount": 100}),
    Scene((8,), "create_deposit", "the address to send to", lambda r: asset_of(r) | {"amount": 100}),
    Scene((9,), "get_deposit", "wait for the deposit", lambda r: _deposit_id(r) | {"wait_seconds": 30}),
    Scene((9,), "get_balances", "the spending power"),
    Scene((), "quote_withdrawal", "a withdrawal, quoted only", lambda r: asset_of(r) | _withdrawal()),
    Scene((10,), "create_session", "a second session, for cards", lambda r: {"purpose": "cards"}),
    Scene((11, 12), "create_card", "label encrypted; the demo approves it", lambda r: _new_card()),
    Scene((13, 14, 15), "reveal_card", "decrypted and verified in the vault", lambda r: _card_id(r)),
)


def asset_of(results: Results) -> dict[str, Any]:
    """Return the first asset that can fund the account, as arguments."""
    step = results["list_deposit_assets"]["next_steps"][0]["arguments"]
    return {"currency": step["currency"], "network": step["network"]}


def _deposit_id(results: Results) -> dict[str, Any]:
    return {"deposit_id": results["create_deposit"]["deposit_id"]}


def _withdrawal() -> dict[str, Any]:
    return {"amount_cents": 2500, "address": "0x" + "1d" * 20, "admin_address": "0x" + "7a" * 20}


def _new_card() -> dict[str, Any]:
    return {"label": "Groceries", "limit_amount_cents": 5000, "limit_frequency": "per30DayPeriod"}


def _card_id(results: Results) -> dict[str, Any]:
    return {"card_id": results["create_card"]["card_id"]}
