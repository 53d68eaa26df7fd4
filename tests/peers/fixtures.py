"""The fixtures that the conformance suite requires by name, built from the product's own parts.

Each uses the registry, authorizer, dispatcher and response shaping like any other. What those parts can't express
(images, audio, sampling, forms with fields) is missing here and listed in the files of expected failures.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mcp_types as types
from pydantic import Field

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails
from machines_mcp.protocol import elicitation, handlers, resources
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.protocol.prompts import Prompt, load_prompts
from machines_mcp.protocol.resources import Resource
from machines_mcp.protocol.tool import Input, Output, Tool, ToolContext, tool
from machines_mcp.server.app import App
from machines_mcp.tools import catalog
from machines_mcp.tools import resources as of_tools

AnyCall = ToolContext[Any]


class NoArguments(Input):
    pass


class MessageArgument(Input):
    message: str = Field(max_length=200)


class Place(Input):
    id: str = Field(max_length=40)


class Text(Output):
    text: str


class Data(Output):
    id: str
    template_test: bool
    data: str


@tool(title="Simple text", toolset="always", action_class=ActionClass.READ, idempotent=True)
async def test_simple_text(call: AnyCall, args: NoArguments) -> Text:
    """Return a text."""
    return Text(text="This is a simple text response for testing.")


@tool(title="Error handling", toolset="always", action_class=ActionClass.READ, idempotent=True)
async def test_error_handling(call: AnyCall, args: NoArguments) -> Text:
    """Fail as tools do."""
    raise ToolError(Code.NOT_FOUND)


@tool(title="Progress", toolset="always", action_class=ActionClass.READ, idempotent=True)
async def test_tool_with_progress(call: AnyCall, args: NoArguments) -> Text:
    """Report progress."""
    for fraction in (0.0, 0.5, 1.0):
        await call.progress(fraction, "on the way")
    return Text(text="There.")


@tool(title="Data", toolset="always", action_class=ActionClass.READ, idempotent=True)
async def test_data(call: AnyCall, args: Place) -> Data:
    """Read a resource with a parameter in its address."""
    return Data(id=args.id, template_test=True, data=f"Data for ID: {args.id}")


async def _approval_details(call: AnyCall, args: Any) -> ApprovalDetails:
    return ApprovalDetails(question=args.message if isinstance(args, MessageArgument) else "Please confirm.")


@tool(
    title="Elicitation",
    toolset="always",
    action_class=ActionClass.MONEY,
    approval_details=_approval_details,
    idempotent=False,
)
async def test_elicitation(call: AnyCall, args: MessageArgument) -> Text:
    """Ask a person."""
    return Text(text="User response: accept")


async def _agreed(call: AnyCall, args: NoArguments) -> Text:
    """Ask a person through a result with sealed state."""
    return Text(text="state-ok")


def _asking(name: str) -> Tool:
    made = tool(
        title=name,
        toolset="always",
        idempotent=False,
        action_class=ActionClass.MONEY,
        approval_details=_approval_details,
    )(_agreed)
    return replace(made, name=f"test_input_required_result_{name}")


TOOLS: tuple[Tool, ...] = (
    test_simple_text,
    test_error_handling,
    test_tool_with_progress,
    test_data,
    test_elicitation,
    *(_asking(name) for name in ("elicitation", "request_state", "tampered_state")),
)

PROMPTS = (
    Prompt("test_simple_prompt", "Simple", "A prompt.", (), "This is a simple prompt for testing."),
    Prompt(
        "test_prompt_with_arguments",
        "With arguments",
        "A prompt with arguments.",
        tuple(types.PromptArgument(name=name, required=True) for name in ("arg1", "arg2")),
        "Prompt with arguments: arg1='{arg1}', arg2='{arg2}'",
    ),
)

RESOURCES = (
    Resource("static-text", "Text", "A text.", text="This is the content of the static text resource."),
    Resource("watched-resource", "Watched", "A text to watch.", text="Nothing happens."),
    Resource("template/{id}/data", "Data", "Data of an id.", tool="test_data"),
)


def add_fixtures(app: App) -> None:
    """Add the fixtures to the server's own tools, prompts and resources, for this process only."""
    catalog.TOOLS = (*catalog.TOOLS, *TOOLS)
    resources.SCHEME = "test://"
    of_tools.RESOURCES = (*of_tools.RESOURCES, *RESOURCES)
    # The suite responds under this name only.
    vars(elicitation)["_KEY"] = "user_name"
    # It fills in fields of its own, not the decision.
    vars(elicitation)["_verdict"] = lambda answer: "yes" if answer.action == "accept" else "nothing"
    known = {**load_prompts(), **{prompt.name: prompt for prompt in PROMPTS}}
    vars(handlers)["load_prompts"] = lambda: known
