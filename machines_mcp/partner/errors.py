"""Everything a call to the Partner API can end in, other than well.

PartnerError
├── ScopeRefused          our own refusal: this client may not read card secrets
├── TransportError
│   ├── Unreachable       nothing was sent
│   ├── TimedOut
│   └── ConnectionLost
├── ResponseError         an answer that is not one of the Partner API
│   ├── Malformed
│   ├── TooLarge
│   └── Redirected
└── ApiError
    ├── InvalidRequest    400, 422, or found before sending
    ├── Unauthorized      401
    ├── Forbidden         403
    ├── NotFound          404
    ├── Conflict          409
    │   ├── KycRequired
    │   └── InvalidState
    ├── RateLimited       429
    ├── ServerError       5xx
    └── Rejected          anything else, `ok: false` in a 2xx included

The text of each is one constant sentence. What upstream wrote, and what the caller passed, stand in none of them.
"""

from __future__ import annotations

import re
from typing import ClassVar

_NAME = re.compile(r"[a-z_]{1,40}")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
# The vendor's own client repeats this one: a first deposit can overtake the making of the user's contract.
_PASSING_CODES = frozenset({"missing_contract"})


def safe_name(value: object) -> str | None:
    """A code as upstream spelt it, or None where it is more than 1 to 40 lower-case letters and underscores."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def safe_field(value: object) -> str | None:
    """A field's name in snake_case (`walletAddress` gives `wallet_address`), or None as in `safe_name`."""
    return safe_name(_CAMEL.sub("_", value).lower()) if isinstance(value, str) and value.isalpha() else safe_name(value)


class PartnerError(Exception):
    """The root. Catch this to catch every failure of the client.

    Attributes:
        code: Upstream's code where it is a plain name, else the class's own (`1 to 40 of [a-z_]`).
        status: The HTTP status, None where no answer came or none was asked for.
        field: The field at fault in snake_case, where known.
        outcome_known: False only where a mutation may have happened all the same.
        retry_after: Seconds to wait as upstream asked, 0 to 86400, None where it did not.
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
        """Whether the same call may go well later; never true where repeating could double a mutation."""
        return self.outcome_known and (self.passing or self.code in _PASSING_CODES)

    def __str__(self) -> str:
        return self.sentence


class ScopeRefused(PartnerError):
    """A session that may read card secrets was asked of a client that was not made for it; nothing was sent."""

    default_code = "scope_refused"
    sentence = "This client does not open sessions that can read card secrets."


class TransportError(PartnerError):
    """No answer came."""

    default_code = "transport_error"
    passing = True


class Unreachable(TransportError):
    """No connection could be made, so nothing was sent."""

    default_code = "unreachable"
    sentence = "The Partner API can't be reached."


class TimedOut(TransportError):
    """The time for the call, or for one of its parts, ran out."""

    default_code = "timed_out"
    sentence = "The Partner API did not answer in time."


class ConnectionLost(TransportError):
    """The connection broke after something was sent."""

    default_code = "connection_lost"
    sentence = "The connection to the Partner API broke before its answer was complete."


class ResponseError(PartnerError):
    """An answer came, but not one of the Partner API."""

    default_code = "response_error"


class Malformed(ResponseError):
    """The answer is not the strict JSON, the envelope or the object that the API documents."""

    default_code = "malformed"
    sentence = "The Partner API answered in a form that is not understood."


class TooLarge(ResponseError):
    """The answer is longer than the client reads."""

    default_code = "too_large"
    sentence = "The Partner API's answer was too large."


class Redirected(ResponseError):
    """The answer is a redirect, which is never followed: credentials stay with the host they are for."""

    default_code = "redirected"
    sentence = "The Partner API answered with a redirect, which is not followed."


class ApiError(PartnerError):
    """The API said no."""

    default_code = "api_error"


class InvalidRequest(ApiError):
    """400, 422, or a value that was refused before anything was sent (`status` is None, `field` names it)."""

    default_code = "invalid_request"
    sentence = "A value of the request is missing or not valid."


class Unauthorized(ApiError):
    """401: the partner key is not accepted, or a second session token in a row was refused."""

    default_code = "unauthorized"
    sentence = "The Partner API did not accept the credentials."


class Forbidden(ApiError):
    """403: the session's scopes do not allow this."""

    default_code = "forbidden"
    sentence = "The Partner API does not allow this with the session's scopes."


class NotFound(ApiError):
    """404."""

    default_code = "not_found"
    sentence = "The Partner API knows nothing by this id."


class Conflict(ApiError):
    """409."""

    default_code = "conflict"
    sentence = "The Partner API refused this in the present state."


class KycRequired(Conflict):
    """409 that says so: the user's KYC is not approved."""

    default_code = "kyc_required"
    sentence = "The user's KYC must be approved first."


class InvalidState(Conflict):
    """409 `invalid_state` without a word of KYC: most often the agreements are not accepted."""

    default_code = "invalid_state"
    sentence = "A step that must come before this one is not done."


class RateLimited(ApiError):
    """429: nothing was done; `retry_after` says when to come back, where upstream did."""

    default_code = "rate_limited"
    sentence = "The Partner API asks to slow down."
    passing = True


class ServerError(ApiError):
    """5xx: of a mutation the outcome is not known."""

    default_code = "server_error"
    sentence = "The Partner API failed on its side."
    passing = True


class Rejected(ApiError):
    """Any other refusal."""

    default_code = "rejected"
    sentence = "The Partner API did not accept the request."
