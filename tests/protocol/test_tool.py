from __future__ import annotations

from typing import Any

import pytest

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails
from machines_mcp.protocol.tool import Input, Output, ToolContext, UserInput, tool


async def act(call: ToolContext[Any], args: UserInput) -> Output:
    """First line
    and its second."""
    return Output()


async def ask(call: ToolContext[Any], args: UserInput) -> ApprovalDetails:
    return ApprovalDetails("Act?")


def by_arguments(args: UserInput) -> ActionClass:
    return ActionClass.MONEY


def test_a_tool_takes_its_name_and_description_from_its_function() -> None:
    made = tool(title="Act", toolset="cards", idempotent=True, action_class=ActionClass.WRITE)(act)
    assert (made.name, made.description) == ("act", "First line and its second.")
    assert (made.input_model, made.output_model) == (UserInput, Output)
    assert made.per_user
    assert not made.read_only


def test_a_tool_without_a_user_needs_no_user_id() -> None:
    async def look(call: ToolContext[Any], args: Input) -> Output:
        return Output()

    made = tool(title="Look", toolset="always", idempotent=True, action_class=ActionClass.READ)(look)
    assert not made.per_user
    assert made.read_only


def test_a_tool_that_does_not_say_whether_it_is_idempotent_is_refused() -> None:
    with pytest.raises(TypeError, match="idempotent"):
        tool(title="Act", toolset="cards", action_class=ActionClass.WRITE)  # type: ignore[call-arg]


def test_a_tool_without_a_class_is_refused() -> None:
    with pytest.raises(TypeError, match="action_class"):
        tool(title="Act", toolset="cards", idempotent=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="action class"):
        tool(title="Act", toolset="cards", idempotent=True, action_class=())


@pytest.mark.parametrize("action_class", sorted(set(ActionClass) - {ActionClass.READ, ActionClass.WRITE}))
def test_a_tool_that_can_ask_needs_approval_details(action_class: ActionClass) -> None:
    with pytest.raises(TypeError, match="approval details"):
        tool(title="Act", toolset="cards", idempotent=True, action_class=action_class)
    assert (
        tool(title="Act", toolset="cards", idempotent=True, action_class=action_class, approval_details=ask)(
            act
        ).approval_details
        is ask
    )


def test_several_classes_need_a_classifier_and_one_class_takes_none() -> None:
    with pytest.raises(TypeError, match="action_class_of"):
        tool(
            title="Act",
            toolset="cards",
            idempotent=True,
            action_class=(ActionClass.WRITE, ActionClass.MONEY),
            approval_details=ask,
        )
    with pytest.raises(TypeError, match="action_class_of"):
        tool(
            title="Act",
            toolset="cards",
            idempotent=True,
            action_class=ActionClass.MONEY,
            action_class_of=by_arguments,
            approval_details=ask,
        )


def test_a_tool_with_a_class_besides_reading_is_not_read_only() -> None:
    made = tool(
        title="Act",
        toolset="cards",
        idempotent=True,
        action_class=(ActionClass.READ, ActionClass.MONEY),
        action_class_of=by_arguments,
        approval_details=ask,
    )(act)
    assert not made.read_only


@pytest.mark.parametrize("given", ["", " a", "a ", "a\nb", "a\x00", "a\u202eb", "a\u200b", "x" * 121])
def test_a_user_id_is_plain(given: str) -> None:
    with pytest.raises(ValueError, match="user_id"):
        UserInput.model_validate({"user_id": given})


@pytest.mark.parametrize("given", ["a", "user 1", "Zoë", "x" * 120, "用户"])
def test_a_plain_user_id_may_be_anything_else(given: str) -> None:
    assert UserInput.model_validate({"user_id": given}).user_id == given


def test_settings_can_select_every_toolset_except_always() -> None:
    from machines_mcp.protocol.toolset import TOOLSETS

    assert TOOLSETS == ("onboarding", "funding", "withdrawals", "cards", "observe")
