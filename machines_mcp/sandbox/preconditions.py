"""Check a request's preconditions. This module defines the order of the checks:

    1. credential   401   partner key, or session token
    2. expiry       401   of the session
    3. scope        403   of the session
    4. kyc          409   not approved
    5. agreements   409   not accepted
    6. not found    404   unknown, or another user's      (the handler's first check)
    7. request      400   body, query, Idempotency-Key    (the handler's second check)
    8. state        409   forbidden in the documented state, or a key reused with another body

`POST /sessions` and `POST /users/resolve` have only checks 1, 7 and 8 (here: KYC for scopes beyond `kyc.*`).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from machines_mcp.sandbox import sessions, users
from machines_mcp.sandbox.call import Call, Incoming
from machines_mcp.sandbox.envelope import Refusal, Success, conflict
from machines_mcp.sandbox.state import State


@dataclass(frozen=True)
class Operation:
    """An endpoint: its method and path, its preconditions and its handler."""

    method: str
    path: str
    handle: Callable[[Call], Success]
    partner: bool = False
    scope: str | None = None
    kyc: bool = False
    agreements: bool = False


def admit(operation: Operation, state: State, incoming: Incoming, origin: str) -> Call:
    """Return the admitted request.

    Raises:
        Refusal: for the first precondition that fails.
    """
    if operation.partner:
        _check_partner_key(state, incoming.headers.get("x-partner-key"))
        return Call(state, incoming, origin, state.clock.now(), None)
    session = sessions.authenticate(state, incoming.headers.get("authorization"))
    if operation.scope is not None and operation.scope not in session.scopes:
        raise Refusal(403, "forbidden", f"missing scope {operation.scope}")
    user = users.find(state, session.user_id)
    if (operation.kyc or operation.agreements) and (user is None or user.kyc_status != "approved"):
        raise conflict("kyc required")
    if operation.agreements and (user is None or user.agreements_at is None):
        raise conflict("agreements required")
    return Call(state, incoming, origin, state.clock.now(), user)


def _check_partner_key(state: State, given: str | None) -> None:
    if not given:
        raise Refusal(401, "unauthorized", "missing partner key")
    if not hmac.compare_digest(given.encode(), state.partner_key.encode()):
        raise Refusal(401, "unauthorized", "invalid partner key")
