"""Every partner client error maps to a catalogue code with an existing next step."""

from __future__ import annotations

import pytest

from machines_mcp.partner import errors
from machines_mcp.partner.errors import PartnerError
from machines_mcp.protocol.errors import Code
from machines_mcp.tools.catalog import TOOLS
from machines_mcp.tools.error_mapping import map_error

BY_NAME = {tool.name: tool for tool in TOOLS}

EXPECTED = {
    errors.Unreachable: Code.PARTNER_UNAVAILABLE,
    errors.TimedOut: Code.PARTNER_UNAVAILABLE,
    errors.ConnectionLost: Code.PARTNER_UNAVAILABLE,
    errors.ServerError: Code.PARTNER_UNAVAILABLE,
    errors.Malformed: Code.PARTNER_MALFORMED,
    errors.Mismatch: Code.PARTNER_MALFORMED,
    errors.TooLarge: Code.PARTNER_MALFORMED,
    errors.Redirected: Code.PARTNER_MALFORMED,
    errors.InvalidRequest: Code.PARTNER_REJECTED,
    errors.Rejected: Code.PARTNER_REJECTED,
    errors.ScopeRefused: Code.PARTNER_REJECTED,
    errors.Conflict: Code.PARTNER_REJECTED,
    errors.Unauthorized: Code.AUTH_REJECTED,
    errors.Forbidden: Code.AUTH_REJECTED,
    errors.NotFound: Code.NOT_FOUND,
    errors.KycRequired: Code.KYC_NOT_APPROVED,
    errors.InvalidState: Code.AGREEMENTS_NOT_ACCEPTED,
    errors.RateLimited: Code.RATE_LIMITED,
}


def leaves(root: type[PartnerError]) -> set[type[PartnerError]]:
    below = root.__subclasses__()
    return {root} if not below else set().union(*(leaves(each) for each in below))


def test_every_error_class_has_an_expectation() -> None:
    assert leaves(PartnerError) <= EXPECTED.keys()


@pytest.mark.parametrize(("kind", "code"), EXPECTED.items(), ids=lambda v: getattr(v, "__name__", ""))
def test_error_is_mapped_by_its_class(kind: type[PartnerError], code: Code) -> None:
    tool_error = map_error(kind(), BY_NAME["create_card"])
    assert tool_error is not None and tool_error.code is code
    assert all(step.tool in BY_NAME for step in tool_error.next_steps)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_unknown_outcome_says_where_to_look(tool: object) -> None:
    for kind in EXPECTED:
        tool_error = map_error(kind(outcome_known=False), tool)  # type: ignore[arg-type]
        assert tool_error is not None and tool_error.code is Code.OUTCOME_UNKNOWN
        assert BY_NAME[tool_error.next_steps[0].tool].name


@pytest.mark.parametrize("kind", [errors.RateLimited, errors.ServerError])
def test_retry_after_is_reported_in_whole_seconds(kind: type[PartnerError]) -> None:
    tool_error = map_error(kind(retry_after=61.2), BY_NAME["list_cards"])
    assert tool_error is not None and tool_error.payload()["retry_after_seconds"] == 62


def test_agreements_precondition_is_kyc_for_the_agreements_themselves() -> None:
    tool_error = map_error(errors.InvalidState(), BY_NAME["get_agreements"])
    assert tool_error is not None and tool_error.code is Code.KYC_NOT_APPROVED


def test_api_field_is_named_if_the_tool_has_it() -> None:
    known = map_error(errors.InvalidRequest(field="occupation"), BY_NAME["submit_kyc"])
    assert known is not None and known.code is Code.INPUT_INVALID and known.fields[0].field == "occupation"
    foreign = map_error(errors.InvalidRequest(field="frobnicate"), BY_NAME["submit_kyc"])
    assert foreign is not None and foreign.code is Code.PARTNER_REJECTED and foreign.fields == ()


def test_other_exceptions_are_not_mapped() -> None:
    assert map_error(ValueError("x"), BY_NAME["status"]) is None
