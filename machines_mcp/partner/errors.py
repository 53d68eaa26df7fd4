"""The errors of the Partner API client.

PartnerError
├── ScopeRefused          refused by this client, which may not read card secrets
├── TransportError
│   ├── Unreachable       nothing was sent
│   ├── TimedOut
│   └── ConnectionLost
├── ResponseError         the response is not one of the Partner API
│   ├── Malformed
│   ├── Mismatch          it is about something other than the request
│   ├── TooLarge
│   └── Redirected
└── ApiError
    ├── InvalidRequest    400, 422, or refused before sending
    ├── Unauthorized      401
    ├── Forbidden         403
    ├── NotFound          404
    ├── Conflict          409
    │   ├── KycRequired
    │   └── InvalidState
    ├── RateLimited       429
    ├── ServerError       5xx
    └── Rejected          any other refusal, including `ok: false` in a 2xx

Each message is one constant sentence. It never contains text from outside or the caller's values.
"""

from __future__ import annotations

import re
from typing import ClassVar

# fmt: off
__all__ = [
    "ApiError", "Conflict", "ConnectionLost", "Forbidden", "InvalidRequest", "InvalidState", "KycRequired", "Malformed",
    "Mismatch", "NotFound", "PartnerError", "RateLimited", "Redirected", "Rejected", "ResponseError", "ScopeRefused",
    "ServerError", "TimedOut", "TooLarge", "TransportError", "Unauthorized", "Unreachable",
]
# fmt: on

_NAME = re.compile(r"[a-z_]{1,40}")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
# The vendor's own client retries this one: a first deposit can arrive before the user's contract is ready.
_PASSING_CODES = frozenset({"missing_contract"})


def safe_name(value: object) -> str | None:
    """Return a code unchanged, or None unless it is 1 to 40 lower-case letters and underscores."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def safe_field(value: object) -> str | None:
    """Return a field name in snake_case (`walletAddress` gives `wallet_address`), or None as in `safe_name`."""
    return safe_name(_CAMEL.sub("_", value).lower()) if isinstance(value, str) and value.isalpha() else safe_name(value)


class PartnerError(Exception):
    """Base class of every error that the client raises.

    Attributes:
        code: Upstream's code if it is a plain name (1 to 40 of `[a-z_]`), else the class's own.
        status: The HTTP status; None if nothing was sent or no response came.
        field: The invalid field in snake_case, if known.
        outcome_known: False only if a mutation may have taken effect.
        retry_after: Seconds that upstream asked to wait, 0 to 86400; None if it did not ask.
    """

    default_code: ClassVar[str] = "partner_error"
    sentence: ClassVar[str] = "The call to the Partner API failed."
    passing: ClassVar[bool] = False

    def __init__(
        self,
        *,
        code: str | None = None,
        status: int | None = None,
        field: str | None = None,
        outcome_known: bool = True,
        retry_after: float | None = None,
    ) -> None:
        super().__init__()
        self.code = code or self.default_code
        self.status = status
        self.field = field
        self.outcome_known = outcome_known
        self.retry_after = retry_after

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later. Never true if repeating it could duplicate a mutation."""
        return self.outcome_known and (self.passing or self.code in _PASSING_CODES)

    def __str__(self) -> str:
        return self.sentence


class ScopeRefused(PartnerError):
    """The call needs a session for card secrets, but the client has `card_secrets` off. Nothing was sent."""

    default_code = "scope_refused"
    sentence = "This client does not open sessions that can read card secrets."


class TransportError(PartnerError):
    """No response arrived."""

    default_code = "transport_error"
    passing = True


class Unreachable(TransportError):
    """No connection could be made, so nothing was sent."""

    default_code = "unreachable"
    sentence = "The Partner API can't be reached."


class TimedOut(TransportError):
    """The call or one of its phases timed out."""

    default_code = "timed_out"
    sentence = "The Partner API did not respond in time."


class ConnectionLost(TransportError):
    """The connection broke after part of the request was sent."""

    default_code = "connection_lost"
    sentence = "The connection to the Partner API broke before the response was complete."


class ResponseError(PartnerError):
    """A response arrived, but not one of the Partner API."""

    default_code = "response_error"


class Malformed(ResponseError):
    """The response is not the strict JSON, the envelope or the object that the API documents."""

    default_code = "malformed"
    sentence = "The Partner API returned a response that does not match its documentation."


class Mismatch(ResponseError):
    """The response is about something other than the request: another user, card or amount, or a wider permission."""

    default_code = "mismatch"
    sentence = "The Partner API returned a response that does not fit the request."


class TooLarge(ResponseError):
    """The response is larger than the client accepts."""

    default_code = "too_large"
    sentence = "The Partner API's response was too large."


class Redirected(ResponseError):
    """The response is a redirect. It is never followed, so that credentials go to no other host."""

    default_code = "redirected"
    sentence = "The Partner API returned a redirect, which is not followed."


class ApiError(PartnerError):
    """The API refused the request."""

    default_code = "api_error"


class InvalidRequest(ApiError):
    """400, 422, or a value refused before anything was sent (`status` is None, `field` names it)."""

    default_code = "invalid_request"
    sentence = "A value in the request is missing or invalid."


class Unauthorized(ApiError):
    """401: the API refused the partner key, or two session tokens in a row."""

    default_code = "unauthorized"
    sentence = "The Partner API did not accept the credentials."


class Forbidden(ApiError):
    """403: the session's scopes do not allow this."""

    default_code = "forbidden"
    sentence = "The Partner API does not allow this with the session's scopes."


class NotFound(ApiError):
    """404: nothing has this id."""

    default_code = "not_found"
    sentence = "The Partner API found no object with this id."


class Conflict(ApiError):
    """409: the current state does not allow the call."""

    default_code = "conflict"
    sentence = "The Partner API refused this in the current state."


class KycRequired(Conflict):
    """409 with a code or message that requires KYC: the user's KYC is not approved."""

    default_code = "kyc_required"
    sentence = "The user's KYC must be approved first."


class InvalidState(Conflict):
    """409 `invalid_state` that does not mention KYC. Usually the agreements are not accepted."""

    default_code = "invalid_state"
    sentence = "A required earlier step is not complete."


class RateLimited(ApiError):
    """429: nothing was done. `retry_after` is set if upstream gave a time."""

    default_code = "rate_limited"
    sentence = "The Partner API's rate limit was reached."
    passing = True


class ServerError(ApiError):
    """5xx: the outcome of a mutation is unknown."""

    default_code = "server_error"
    sentence = "The Partner API returned a server error."
    passing = True


class Rejected(ApiError):
    """Any other refusal."""

    default_code = "rejected"
    sentence = "The Partner API did not accept the request."
