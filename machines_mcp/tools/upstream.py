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
from machines_mcp.tools.services import Services

# Where to look for what a call may have done, and for the id it did not find.
_WHERE_TO_LOOK = {
    "create_card": "list_cards",
    "update_card": "get_card",
    "close_card": "list_cards",
    "get_card": "list_cards",
    "reveal_card": "list_cards",
    "create_deposit": "list_deposits",
    "get_deposit": "list_deposits",
    "submit_kyc": "get_kyc_status",
    "accept_agreements": "get_agreements",
    "resolve_user": "resolve_user",
}


class Upstream:
    """Explains errors with next steps that carry the user, where the server is not pinned to one."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def explain(self, error: Exception, tool: Tool, user_id: str) -> Refusal | None:
        """The refusal for an error of the partner client; None for any other exception."""
        if not isinstance(error, PartnerError):
            return None
        if not error.outcome_known:
            return self._refusal(Code.OUTCOME_UNKNOWN, user_id, self._look(tool), "See whether it happened.")
        if isinstance(error, ApiError):
            return self._said_no(error, tool, user_id)
        if isinstance(error, TransportError):
            return _unavailable()
        return Refusal(Code.PARTNER_MALFORMED if isinstance(error, ResponseError) else Code.PARTNER_REJECTED)

    def _said_no(self, error: ApiError, tool: Tool, user_id: str) -> Refusal:
        match error:
            case KycRequired():
                return self._refusal(Code.KYC_NOT_APPROVED, user_id, "get_kyc_status", "See what the check needs.")
            case InvalidState():
                return self._invalid_state(tool, user_id)
            case NotFound():
                return self._refusal(Code.NOT_FOUND, user_id, self._look(tool), "See which ids there are.")
            case InvalidRequest():
                return _invalid(error, tool)
            case Unauthorized() | Forbidden():
                return Refusal(Code.AUTH_REJECTED)
            case RateLimited():
                return Refusal(Code.RATE_LIMITED, details={"retry_after_seconds": math.ceil(error.retry_after or 5)})
            case ServerError():
                return _unavailable()
            case _:
                return Refusal(Code.PARTNER_REJECTED)

    def _invalid_state(self, tool: Tool, user_id: str) -> Refusal:
        # The API has one code for both gates; which of them is shut follows from what was asked.
        if tool.name in ("get_agreements", "accept_agreements"):
            return self._refusal(Code.KYC_NOT_APPROVED, user_id, "get_kyc_status", "See what the check needs.")
        return self._refusal(
            Code.AGREEMENTS_NOT_ACCEPTED, user_id, "get_agreements", "Show the agreements, then accept them."
        )

    def _look(self, tool: Tool) -> str:
        return _WHERE_TO_LOOK.get(tool.name, "status")

    def _refusal(self, code: Code, user_id: str, step: str, why: str) -> Refusal:
        arguments = {} if step == "status" else self._services.user_argument(user_id)
        return Refusal(code, next_steps=[Step(step, why, arguments)])


def _unavailable() -> Refusal:
    return Refusal(Code.PARTNER_UNAVAILABLE, next_steps=[Step("status", "See how things stand, then try again.")])


def _invalid(error: InvalidRequest, tool: Tool) -> Refusal:
    if error.field in tool.input_model.model_fields:
        rule = "was not accepted by Machines"
        return Refusal(Code.INPUT_INVALID, faults=[Fault(error.field, rule)])
    return Refusal(Code.PARTNER_REJECTED)
