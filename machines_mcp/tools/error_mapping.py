"""Map Partner API errors to our error codes and a next step."""

from __future__ import annotations

import math

from machines_mcp.partner.errors import (
    ApiError,
    Conflict,
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
from machines_mcp.protocol.errors import Code, FieldError, NextStep, ToolError
from machines_mcp.protocol.tool import Tool
from machines_mcp.protocol.withheld import outcome_tool

# Used if the API gives no delay.
RETRY_SECONDS = 5
# The tool that lists the accepted values: Machines would reject the same value again.
_CHOICES = {
    "submit_kyc": NextStep("get_kyc_requirements", "See each field's rules and accepted values."),
    "quote_deposit": NextStep("list_deposit_assets", "See the available currencies and networks."),
    "create_deposit": NextStep("list_deposit_assets", "See the available currencies and networks."),
    "quote_withdrawal": NextStep("list_withdrawal_assets", "See the available currencies and networks."),
}
_CARD_STATE = "The card's status does not allow this; nothing was changed. A closed card can't be reopened."
_INVALID_STATE_MESSAGES = {
    "submit_kyc": "An application is already in progress or decided. Nothing was changed.",
    "update_card": _CARD_STATE,
    "close_card": _CARD_STATE,
    "reveal_card": _CARD_STATE,
}


def map_error(error: Exception, tool: Tool) -> ToolError | None:
    """Map an error of the partner client to an error for the model; return None for any other exception."""
    if not isinstance(error, PartnerError):
        return None
    if not error.outcome_known:
        return _tool_error(Code.OUTCOME_UNKNOWN, outcome_tool(tool.name), "See whether it happened.")
    if isinstance(error, ApiError):
        return _map_api_error(error, tool)
    if isinstance(error, TransportError):
        return _retry_later(Code.PARTNER_UNAVAILABLE, None)
    return ToolError(Code.PARTNER_MALFORMED if isinstance(error, ResponseError) else Code.PARTNER_REJECTED)


def _map_api_error(error: ApiError, tool: Tool) -> ToolError:
    match error:
        case KycRequired():
            return kyc_missing()
        case InvalidState():
            return _invalid_state(tool)
        case NotFound():
            return _tool_error(Code.NOT_FOUND, outcome_tool(tool.name), "Look up the right id.")
        case InvalidRequest():
            return _invalid(error, tool)
        case Unauthorized() | Forbidden():
            return ToolError(Code.AUTH_REJECTED)
        case RateLimited():
            return _retry_later(Code.RATE_LIMITED, error.retry_after)
        case ServerError():
            return _retry_later(Code.PARTNER_UNAVAILABLE, error.retry_after)
        case Conflict() if error.code == "insufficient_balance":
            message = "The user's balance does not cover this. Nothing was changed."
            step = NextStep("get_balances", "Check the balance, then ask the user for an amount within it.")
            return ToolError(Code.PARTNER_REJECTED, message=message, next_steps=[step])
        case _:
            return ToolError(Code.PARTNER_REJECTED)


def _invalid_state(tool: Tool) -> ToolError:
    # The API returns one code for missing KYC, missing agreements and more; the tool tells which one applies.
    if tool.name in ("get_agreements", "accept_agreements"):
        return kyc_missing()
    if tool.name in _INVALID_STATE_MESSAGES:
        step = NextStep(outcome_tool(tool.name), "Check the current status.")
        return ToolError(Code.PARTNER_REJECTED, message=_INVALID_STATE_MESSAGES[tool.name], next_steps=[step])
    return agreements_missing()


def kyc_missing() -> ToolError:
    """Return the error for a user without an approved identity check."""
    return _tool_error(Code.KYC_NOT_APPROVED, "get_kyc_status", "See what the identity check needs.")


def agreements_missing() -> ToolError:
    """Return the error for a user who has not accepted the agreements."""
    return _tool_error(
        Code.AGREEMENTS_NOT_ACCEPTED, "get_agreements", "Show the user the agreements, then accept them."
    )


def _tool_error(code: Code, step: str, why: str) -> ToolError:
    # No arguments: errors never repeat the caller's arguments.
    return ToolError(code, next_steps=[NextStep(step, why)])


def _retry_later(code: Code, retry_after: float | None) -> ToolError:
    """Return an error that changed nothing; the same call may succeed after the delay."""
    return ToolError(code, details={"retry_after_seconds": math.ceil(retry_after or RETRY_SECONDS)})


def _invalid(error: InvalidRequest, tool: Tool) -> ToolError:
    if error.field in tool.input_model.model_fields:
        rule = "was not accepted by Machines"
        return ToolError(Code.INPUT_INVALID, fields=[FieldError(error.field, rule)], next_steps=_choices(tool))
    return ToolError(Code.PARTNER_REJECTED, next_steps=_choices(tool))


def _choices(tool: Tool) -> list[NextStep]:
    return [_CHOICES[tool.name]] if tool.name in _CHOICES else []
