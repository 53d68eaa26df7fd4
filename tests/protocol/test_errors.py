from __future__ import annotations

import re

import pytest

from machines_mcp.protocol.errors import Code, FieldError, NextStep, ToolError


@pytest.mark.parametrize("code", Code)
def test_every_code_has_one_sentence_and_a_retryable_flag(code: Code) -> None:
    body = ToolError(code).payload()
    assert body["code"] == code.value
    assert re.fullmatch(r"[A-Z][^{}%]{10,200}\.", body["message"])
    assert isinstance(body["retryable"], bool)
    assert body["next_steps"] == []
    assert "fields" not in body


@pytest.mark.parametrize("code", [Code.OUTCOME_UNKNOWN, Code.POLICY_DENIED, Code.APPROVAL_REFUSED, Code.INTERNAL])
def test_codes_that_must_not_be_repeated_are_not_retryable(code: Code) -> None:
    assert ToolError(code).payload()["retryable"] is False


def test_faults_details_and_steps_have_their_own_fields() -> None:
    tool_error = ToolError(
        Code.INPUT_INVALID,
        fields=[FieldError("amount_cents", "is required")],
        next_steps=[NextStep("status", "Look.", {"a": 1})],
        details={"retry_after_seconds": 3},
    )
    assert tool_error.payload() == {
        "code": "input.invalid",
        "message": "Invalid arguments. Fix the listed fields and call again.",
        "retryable": True,
        "fields": [{"field": "amount_cents", "rule": "is required"}],
        "retry_after_seconds": 3,
        "next_steps": [{"tool": "status", "why": "Look.", "arguments": {"a": 1}}],
    }


def test_the_exception_text_is_only_its_code() -> None:
    assert str(ToolError(Code.NOT_FOUND, message="Something else.")) == "not_found"
