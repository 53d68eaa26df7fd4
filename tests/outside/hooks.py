"""Schemathesis hooks for the sandbox: credentials, and existing resources in place of generated ids.

Schemathesis imports this in its own process, configured by the environment: `MACHINES_OUTSIDE_PARTNER_KEY`, and
`MACHINES_OUTSIDE_TOKEN`, the session token of a ready user.
"""

from __future__ import annotations

import os
import random
from typing import Any, Final

import schemathesis
from schemathesis import AuthContext, Case, GenerationMode, HookContext, Response

PARTNER_KEY: Final = os.environ["MACHINES_OUTSIDE_PARTNER_KEY"]
READY: Final = os.environ["MACHINES_OUTSIDE_TOKEN"]
PAIRS: Final = (("rusd", "base"), ("usdc", "ethereum"), ("usdt", "polygon"), ("eth", "base"), ("hbar", "hbar"))
# Operations where a user just created by a session may still fail a precondition.
NEWCOMERS: Final = ("kyc", "agreements", "deposits")

# Session tokens returned to generated calls, newest last.
minted: list[str] = []
# Ids created by the ready user's generated calls, by parameter name.
known: dict[str, list[str]] = {"cardId": [], "depositId": [], "sessionId": []}
MADE_BY: Final = {
    ("POST", "/cards"): ("cardId", ("cardId",)),
    ("POST", "/deposits"): ("depositId", ("deposit", "id")),
    ("POST", "/cards/secrets/session"): ("sessionId", ("sessionId",)),
}
# Calls run one at a time, so a seed repeats the same choices.
dice: Final = random.Random(1)  # noqa: S311


@schemathesis.auth(refresh_interval=None)
class Credentials:
    """Sets the partner key or a session token, as the operation requires."""

    def get(self, case: Case, ctx: AuthContext) -> tuple[str, str]:
        if case.operation.path in ("/sessions", "/users/resolve"):
            return "X-Partner-Key", PARTNER_KEY
        newcomer = minted and set(NEWCOMERS) & set(case.operation.tags or ()) and dice.random() < 0.5
        return "Authorization", f"Bearer {minted[-1] if newcomer else READY}"

    def set(self, case: Case, data: tuple[str, str], ctx: AuthContext) -> None:
        name, value = data
        case.headers[name] = value


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Put existing ids into valid calls. Invalid calls stay as generated."""
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    if case.meta.phase.name.value == "stateful":
        # The links read the envelope, so it must not be wrapped.
        case.headers.pop("X-Open-Responses", None)
    for name in known.keys() & case.path_parameters.keys():
        case.path_parameters[name] = _named(name, case.path_parameters[name])
    if isinstance(case.body, dict):
        case.body = _real(case.body)


@schemathesis.hook
def after_call(context: HookContext, case: Case, response: Response) -> None:
    """Record the sessions of new users and the ids of the ready user."""
    if response.status_code != 200 or response.headers["content-type"] != ["application/json"]:
        return
    data = response.json().get("data")
    if data is None:
        return
    call = (case.method, case.operation.path)
    if call == ("POST", "/sessions"):
        minted.append(data["sessionToken"])
    elif call in MADE_BY and case.headers.get("Authorization") == f"Bearer {READY}":
        name, steps = MADE_BY[call]
        for step in steps:
            data = data[step]
        known[name].append(data)


def _named(name: str, value: object) -> object:
    """Return mostly a recent existing id. An id from an earlier response stays."""
    things = known[name]
    return dice.choice(things[-5:]) if things and value not in things and dice.random() < 0.7 else value


def _real(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body with known currencies, amounts in range, a plausible form and scopes that new users may have."""
    real: dict[str, Any] = {name: _real(value) if isinstance(value, dict) else value for name, value in body.items()}
    if {"currency", "network"} <= real.keys() and dice.random() < 0.9:
        real["currency"], real["network"] = dice.choice(PAIRS)
        if "address" in real:
            real["address"] = "0x" + "1" * 40
    if "occupation" in real:
        real |= {"occupation": "15-1132", "birthDate": "1990-01-31", "email": "someone@example.com"}
        real["lastName"] = dice.choice(("Approved", real["lastName"]))
    if "amount" in real:
        real["amount"] = min(max(float(real["amount"]), 10.0), 1000.0)
    if "amountCents" in real and "destination" in real:
        real["amountCents"] = min(max(int(real["amountCents"]), 20_00), 50_00)
    if "sessionId" in real:
        real["sessionId"] = _named("sessionId", real["sessionId"])
    if "scopes" in real and dice.random() < 0.7:
        real["scopes"] = ["kyc.read", "kyc.write"]
        # A new user who has not submitted the form.
        real |= {name: f"newcomer-{dice.getrandbits(64)}" for name in ("userId", "externalUserId") if name in real}
    return real
