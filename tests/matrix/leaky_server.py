"""The server with a leak planted in every channel: `python -m tests.matrix.leaky_server`, with the usual settings.

LEAK is the leaked text. LEAK_KNOWN makes it a secret that the server knows. LEAK_DEBUG sets every logger to DEBUG.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from dataclasses import replace
from typing import Any, Literal

import anyio
from mcp.shared.exceptions import MCPError

from machines_mcp.cli.main import main
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails, Detail
from machines_mcp.protocol import completion, handlers, prompts, resources
from machines_mcp.protocol.errors import Code, FieldError, NextStep, ToolError
from machines_mcp.protocol.tool import Input, NextStepOutput, Output, ToolContext, tool
from machines_mcp.redaction.secret import Secret
from machines_mcp.redaction.verbatim import Verbatim
from machines_mcp.server import app, log_config
from machines_mcp.tools import catalog
from machines_mcp.tools import resources as journey

LEAK = os.environ["LEAK"]


class NoArguments(Input):
    pass


class FailureInput(Input):
    how: Literal["refusal", "fault", "step", "exception", "group", "protocol"]


class TextOutput(Output):
    text: str
    id: Verbatim | None = None


@tool(title="Say", toolset="always", action_class=ActionClass.READ, idempotent=True)
async def say(call: ToolContext[Any], args: NoArguments) -> TextOutput:
    """Leak it in a text field."""
    return TextOutput(text=f"it is {LEAK}.")


@tool(title="Show", toolset="always", action_class=ActionClass.READ, idempotent=True)
async def show(call: ToolContext[Any], args: NoArguments) -> TextOutput:
    """Leak it in a field for ids, as upstream might by mistake, and in the field next to it."""
    return TextOutput(text=LEAK, id=Verbatim(f"id-{LEAK}"))


@tool(title="Suggest", toolset="always", action_class=ActionClass.READ, idempotent=True)
async def suggest(call: ToolContext[Any], args: NoArguments) -> TextOutput:
    """Leak it in a next step."""
    return TextOutput(
        text="", next_steps=[NextStepOutput(tool="status", why=LEAK, arguments={LEAK: LEAK, "deep": [{"x": LEAK}]})]
    )


@tool(title="Tell", toolset="always", action_class=ActionClass.READ, idempotent=True)
async def tell(call: ToolContext[Any], args: NoArguments) -> TextOutput:
    """Leak it in a progress notification."""
    await call.progress(0.5, f"half of {LEAK}")
    return TextOutput(text="told")


@tool(title="Fail", toolset="always", action_class=ActionClass.READ, idempotent=True)
async def fail(call: ToolContext[Any], args: FailureInput) -> TextOutput:
    """Leak it in each kind of error."""
    match args.how:
        case "refusal":
            raise ToolError(Code.NOT_FOUND, message=LEAK, details={"reason": LEAK})
        case "fault":
            raise ToolError(Code.INPUT_INVALID, fields=[FieldError(LEAK, LEAK)])
        case "step":
            raise ToolError(Code.NOT_FOUND, next_steps=[NextStep("status", LEAK, {"id": LEAK})])
        case "protocol":
            raise MCPError(code=-32602, message=LEAK, data={"given": LEAK})
        case "group":
            raise ExceptionGroup(LEAK, [ValueError(LEAK)])
        case _:
            raise LookupError(LEAK)


async def _approval_details(call: ToolContext[Any], args: NoArguments) -> ApprovalDetails:
    return ApprovalDetails(question=f"Is it {LEAK}?", items=(Detail("It", LEAK, note=LEAK),))


@tool(
    title="Ask", toolset="always", action_class=ActionClass.MONEY, approval_details=_approval_details, idempotent=False
)
async def ask(call: ToolContext[Any], args: NoArguments) -> TextOutput:
    """Leak it in a question."""
    return TextOutput(text="asked")


async def _payment_details(call: ToolContext[Any], args: NoArguments) -> ApprovalDetails:
    return ApprovalDetails(question="Pay?", amount_cents=500)


@tool(
    title="Pay", toolset="always", action_class=ActionClass.MONEY, approval_details=_payment_details, idempotent=False
)
async def pay(call: ToolContext[Any], args: NoArguments) -> TextOutput:
    """Leak it in the result of a call that moved money."""
    return TextOutput(text=f"paid {LEAK}.")


@tool(title="Noise", toolset="always", action_class=ActionClass.READ, idempotent=True)
async def noise(call: ToolContext[Any], args: NoArguments) -> TextOutput:
    """Leak it on standard error, in every way that a library might."""
    for name in ("some_library", "httpx", "mcp.server", "uvicorn.access", "asyncio"):
        try:
            raise ValueError(LEAK)
        except ValueError:
            logging.getLogger(name).exception("got %r", LEAK, extra={"body": LEAK}, stack_info=True)
    logging.getLogger("some_library").error("%d", LEAK)
    warnings.warn(LEAK, stacklevel=1)
    thread = threading.Thread(target=_break)
    thread.start()
    await anyio.to_thread.run_sync(thread.join)
    type("Bad", (), {"__del__": lambda self: _break()})()
    return TextOutput(text="made")


def _break() -> None:
    raise LookupError(LEAK)


def _debug(level: str, configure: Any = log_config.configure) -> None:
    configure(level)
    for name in ("", *logging.root.manager.loggerDict):
        logging.getLogger(name).setLevel(logging.DEBUG)


def plant() -> None:
    """Leak it outside the tools: in descriptions, prompts, resources, completions and the server's instructions."""
    described = replace(say, name="described", description=f"It is {LEAK}.")
    catalog.TOOLS = (*catalog.TOOLS, say, show, suggest, tell, fail, ask, pay, noise, described)
    known = dict(prompts.load_prompts())
    first = next(iter(known))
    known[first] = replace(known[first], description=LEAK, text=f"{LEAK}\n{known[first].text}")
    vars(handlers)["load_prompts"] = lambda: known
    listed = resources.Resource("leak", LEAK, LEAK, text=f"# It\n\n{LEAK}")
    journey.RESOURCES = (*journey.RESOURCES, listed)
    vars(completion)["_CHOICES"] = {"limit": (LEAK, f"{LEAK}!")}
    vars(app)["INSTRUCTIONS"] = f"It is {LEAK}."


def learn(secret: Secret) -> None:
    """Add it to the known secrets of every server in this process."""
    make = app.App.__init__

    def made(self: app.App, *given: Any, **named: Any) -> None:
        make(self, *given, **named)
        self.output_filter.add_secret(secret)

    vars(app)["App"].__init__ = made


if __name__ == "__main__":
    plant()
    if "LEAK_KNOWN" in os.environ:
        learn(Secret(LEAK))
    if "LEAK_DEBUG" in os.environ:
        vars(log_config)["configure"] = _debug
    sys.exit(main())
