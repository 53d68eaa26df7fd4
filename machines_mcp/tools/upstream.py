"""What an error of the Partner API means to the model: a code of our catalogue and the call that helps."""

from __future__ import annotations

import math

from machines_mcp.partner.errors import (
    ApiError,
    Forbidden,
    InvalidRequest,
    InvalidState,
    KycRequired,
    NotFound,
    PartnerError,
    RateLimited,
    ResponseError,
    ServerError,
    TransportError,
    Unauthorized,
)
from machines_mcp.protocol.refusal import Code, Fault, Refusal, Step
from machines_mcp.protocol.tool import Tool

# Where to look for what a call may have done, and for the id it did not find.
_WHERE_TO_LOOK = {
    "create_card": "list_cards",
    "update_card": "list_cards",
    "close_card": "list_cards",
    "get_card": "list_cards",
    "reveal_card": "list_cards",
    "create_deposit": "list_deposits",
    "get_deposit": "list_deposits",
    "submit_kyc": "get_kyc_status",
    "accept_agreements": "get_agreements",
    "resolve_user": "resolve_user",
}


def explain(error: Exception, tool: Tool) -> Refusal | None:
    """The refusal for an error of the partner client; None for any other exception."""
    if not isinstance(error, PartnerError):
        return None
    if not error.outcome_known:
        return _refusal(Code.OUTCOME_UNKNOWN, where_to_look(tool.name), "See whether it happened.")
    if isinstance(error, ApiError):
        return _said_no(error, tool)
    if isinstance(error, TransportError):
        return _unavailable()
    return Refusal(Code.PARTNER_MALFORMED if isinstance(error, ResponseError) else Code.PARTNER_REJECTED)


def _said_no(error: ApiError, tool: Tool) -> Refusal:
    match error:
        case KycRequired():
            return kyc_missing()
        case InvalidState():
            return _invalid_state(tool)
        case NotFound():
            return _refusal(Code.NOT_FOUND, where_to_look(tool.name), "See which ids there are.")
        case InvalidRequest():
            return _invalid(error, tool)
        case Unauthorized() | Forbidden():
            return Refusal(Code.AUTH_REJECTED)
        case RateLimited():
            return Refusal(Code.RATE_LIMITED, details={"retry_after_seconds": math.ceil(error.retry_after or 5)})
        case ServerError():
            return _unavailable(error.retry_after)
        case _:
            return Refusal(Code.PARTNER_REJECTED)


def _invalid_state(tool: Tool) -> Refusal:
    # The API has one code for both gates; which of them is shut follows from what was asked.
    if tool.name in ("get_agreements", "accept_agreements"):
        return kyc_missing()
    return agreements_missing()


def kyc_missing() -> Refusal:
    """The first gate: the identity check."""
    return _refusal(Code.KYC_NOT_APPROVED, "get_kyc_status", "See what the check needs.")


def agreements_missing() -> Refusal:
    """The second gate, before money and cards."""
    return _refusal(Code.AGREEMENTS_NOT_ACCEPTED, "get_agreements", "Show the agreements, then accept them.")


def where_to_look(tool: str) -> str:
    """The tool that shows what a call of `tool` may have done."""
    return _WHERE_TO_LOOK.get(tool, "status")


def _refusal(code: Code, step: str, why: str) -> Refusal:
    # No arguments: those of the call are not repeated in an error, and the caller has them.
    return Refusal(code, next_steps=[Step(step, why)])


def _unavailable(retry_after: float | None = None) -> Refusal:
    details = {} if retry_after is None else {"retry_after_seconds": math.ceil(retry_after)}
    step = Step("status", "See how things stand, then try again.")
    return Refusal(Code.PARTNER_UNAVAILABLE, details=details, next_steps=[step])


def _invalid(error: InvalidRequest, tool: Tool) -> Refusal:
    if error.field in tool.input_model.model_fields:
        rule = "was not accepted by Machines"
        return Refusal(Code.INPUT_INVALID, faults=[Fault(error.field, rule)])
    return Refusal(Code.PARTNER_REJECTED)
