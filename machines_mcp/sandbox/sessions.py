"""Sessions: a JWT with user, scopes and expiry, checked against the stored session on every request."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from machines_mcp.sandbox import users
from machines_mcp.sandbox.envelope import Refusal, Success, conflict
from machines_mcp.sandbox.ids import new_id

if TYPE_CHECKING:
    from machines_mcp.sandbox.call import Call
    from machines_mcp.sandbox.state import State

# The documented scopes, and `balances.read`, which the vendor's own example requests.
SCOPES: Final = frozenset(
    {
        *("users.read", "users.write", "kyc.read", "kyc.write", "cards.read", "cards.write", "cards.secrets.read"),
        *("encryption.read", "encryption.write", "deposits.read", "deposits.write", "balances.read"),
        *("transactions.read", "withdrawals.write"),
    }
)
BEFORE_KYC: Final = frozenset({"kyc.read", "kyc.write"})
DEFAULT_TTL: Final = 900


@dataclass(frozen=True)
class Session:
    """A live session of one user."""

    session_id: str
    user_id: str
    scopes: frozenset[str]


def create(call: Call) -> Success:
    """POST /sessions: mint a token, creating the user if the id is new."""
    fields = call.body()
    user_id, wallet = users.named(fields), users.wallet(fields)
    scopes = _scopes(call)
    ttl = fields.optional_integer("ttlSeconds", least=60, most=86_400)
    fields.optional_text("sessionLabel", least=0, most=120)
    user = users.link(call.state, user_id, wallet)
    if user.kyc_status != "approved" and not BEFORE_KYC.issuperset(scopes):
        raise conflict("kyc required", code="kyc_required")

    issued = int(call.now)
    expires_at = issued + (DEFAULT_TTL if ttl is None else ttl)
    session_id = new_id()
    call.state.insert(
        "sessions", session_id=session_id, user_id=user_id, scopes=" ".join(scopes), expires_at=expires_at
    )
    claims = {
        "iss": "machines-sandbox",
        "sub": user_id,
        "sid": session_id,
        "scopes": scopes,
        "wallet": user.wallet_address,
        "iat": issued,
        "exp": expires_at,
    }
    data = {
        "sessionToken": jwt.encode({"alg": "HS256"}, claims, _key(call.state)),
        "sessionId": session_id,
        "userId": user_id,
        "expiresAt": call.iso(expires_at),
        "scopes": scopes,
        "wallet": user.wallet,
    }
    return Success(data, "session created")


def _scopes(call: Call) -> list[str]:
    """Return the requested scopes in order, without duplicates."""
    fields = call.body()
    fields.require("scopes")
    asked = fields.values["scopes"]
    if not isinstance(asked, list) or not asked or not all(isinstance(scope, str) for scope in asked):
        fields.refuse("scopes", "must be a list of at least one scope")
    if not SCOPES.issuperset(asked):
        fields.refuse("scopes", "must be documented scopes")
    return list(dict.fromkeys(asked))


def authenticate(state: State, authorization: str | None) -> Session:
    """Return the session of a bearer token.

    Raises:
        Refusal: 401, if the token is missing, forged, of a deleted session, or (checked last) expired.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise _unauthorized("missing session token")
    try:
        claims = jwt.decode(token, _key(state), algorithms=["HS256"]).claims
    except (JoseError, ValueError):
        raise _unauthorized("invalid session token") from None
    row = state.row("SELECT * FROM sessions WHERE session_id = ?", str(claims.get("sid")))
    if row is None:
        raise _unauthorized("invalid session token")
    if state.clock.now() >= row["expires_at"]:
        raise _unauthorized("session expired")
    return Session(row["session_id"], row["user_id"], frozenset(row["scopes"].split()))


def _unauthorized(message: str) -> Refusal:
    return Refusal(401, "unauthorized", message)


@lru_cache(maxsize=1)
def _import_key(secret: bytes) -> OctKey:
    return OctKey.import_key(secret)


def _key(state: State) -> OctKey:
    return _import_key(state.token_key)
