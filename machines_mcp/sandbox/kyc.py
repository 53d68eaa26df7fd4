"""Identity verification: the application, its nine statuses, and decisions by a person or the control."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from machines_mcp.sandbox import kyc_form, users
from machines_mcp.sandbox.envelope import Success, conflict

if TYPE_CHECKING:
    from machines_mcp.sandbox.call import Call
    from machines_mcp.sandbox.state import State
    from machines_mcp.sandbox.user import User

PAGE_PATH: Final = "/verify"
# Statuses in which the user can submit the form. In all others, an application is in progress or decided.
OPEN: Final = frozenset({"not_submitted", "needs_information", "needs_verification"})
# The possible decisions, each with the reason that `GET /kyc/status` then returns.
DECISIONS: Final[dict[str, str | None]] = {
    "not_submitted": None,
    "approved": None,
    "pending": None,
    "manual_review": "a person is reviewing the application",
    "needs_information": "the photo of the document can't be read",
    "needs_verification": None,
    "denied": "the identity could not be verified",
    "locked": "the account is locked",
    "canceled": "the application was withdrawn",
}
_POLL_MS: Final = {"pending": 1000, "manual_review": 5000, "needs_information": 2000, "needs_verification": 2000}


def values(call: Call) -> Success:
    """GET /kyc/values."""
    data = {
        "fields": kyc_form.FIELDS,
        "occupations": [{"code": code, "label": label} for code, label in kyc_form.OCCUPATIONS.items()],
        "annualSalary": kyc_form.ANNUAL_SALARY,
        "expectedMonthlyVolume": kyc_form.MONTHLY_VOLUME,
        "accountPurpose": kyc_form.PURPOSES,
    }
    return Success(data, "kyc values")


def submit(call: Call) -> Success:
    """POST /kyc/applications. Nothing from the form is stored, because no response of the API returns it."""
    last_name = kyc_form.check(call.body(), datetime.fromtimestamp(call.now, UTC).date())
    if call.user.kyc_status not in OPEN:
        raise conflict("an application is already in progress or decided")
    status = "approved" if "approved" in last_name.lower() else "needs_verification"
    return Success(*_view(call, decide(call.state, call.user.user_id, status), "kyc submitted"))


def status(call: Call) -> Success:
    """GET /kyc/status."""
    return Success(*_view(call, call.user, f"kyc {call.user.kyc_status.replace('_', ' ')}"))


def decide(state: State, user_id: str, status: str, reason: str | None = None) -> User:
    """Set the status. The hosted page keeps the same address for the user's whole journey."""
    state.db.execute(
        "UPDATE users SET kyc_status = ?, kyc_reason = ?, kyc_page = coalesce(kyc_page, ?) WHERE user_id = ?",
        (status, DECISIONS[status] if reason is None else reason, secrets.token_urlsafe(16), user_id),
    )
    user = users.find(state, user_id)
    if user is None:
        raise LookupError("the user that was just written is missing")
    return user


def _view(call: Call, user: User, summary: str) -> tuple[dict[str, Any], str, int | None]:
    link = f"{call.origin}{PAGE_PATH}/{user.kyc_page}"
    data = {
        "status": user.kyc_status,
        "isTermsOfServiceAccepted": user.agreements_at is not None,
        "reason": call.state.texts.at("kyc_reason") or user.kyc_reason,
        # Uses both documented links: the first asks to verify, the second for missing information.
        "completionLink": link if user.kyc_status == "needs_verification" else None,
        "externalVerificationLink": link if user.kyc_status == "needs_information" else None,
        "isActive": None if user.kyc_status == "not_submitted" else user.kyc_status == "approved",
    }
    return data, summary, _POLL_MS.get(user.kyc_status)
