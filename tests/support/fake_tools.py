"""A server of a few small tools, the state they act on, and clients with scripted dialog responses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import anyio
import mcp_types as types
from mcp import Client
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateSecurity
from pydantic import Field

from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails
from machines_mcp.permissions.approvals import ApprovalStore
from machines_mcp.permissions.factory import Guard, build_guard
from machines_mcp.permissions.policy import Policy, default_policy
from machines_mcp.protocol.apps import Views
from machines_mcp.protocol.completion import Completions
from machines_mcp.protocol.dispatcher import Dispatcher
from machines_mcp.protocol.errors import Code, NextStep, ToolError
from machines_mcp.protocol.execution import ToolRunner
from machines_mcp.protocol.handlers import Identity, Loaded, build_server
from machines_mcp.protocol.reconciliation import Reconciler
from machines_mcp.protocol.registry import Registry
from machines_mcp.protocol.resources import Resource, Resources
from machines_mcp.protocol.responses import ResponseBuilder
from machines_mcp.protocol.tool import Cents, Input, Output, OutputPart, Tool, ToolContext, UserInput, tool
from machines_mcp.redaction.output_filter import OutputFilter
from machines_mcp.storage.database import Store
from machines_mcp.storage.principal import Principal
from tests.support.approver import FakeApprover
from tests.support.clock import Clock
from tests.support.results import object_text
from tests.support.waiting import PATIENCE

Era = Literal["legacy", "2026-07-28"]
ERAS: tuple[Era, ...] = ("legacy", "2026-07-28")
MODERN: Era = "2026-07-28"
KEY = b"k" * 32
ALL_TOOLSETS = frozenset({"onboarding", "funding", "withdrawals", "cards", "observe"})


class UpstreamError(Exception):
    """An error of the Partner API client."""


async def _nothing() -> None:
    pass


@dataclass
class FakeUpstream:
    """The calls that the tools made, and the hooks that run during them."""

    paid: list[tuple[str, str, int]] = field(default_factory=list)
    """User, idempotency key and cents of each payment."""
    asked: int = 0
    before: Callable[[], Awaitable[None]] = _nothing
    after: Callable[[], Awaitable[None]] = _nothing
    on_question: Callable[[], Awaitable[None]] = _nothing


FakeUpstreamCall = ToolContext[FakeUpstream]


class Pay(UserInput):
    amount_cents: Cents
    note: str | None = Field(default=None, max_length=20)
    kind: Literal["gift", "bill"] = "gift"


class Paid(Output):
    receipt: int
    amount_cents: int
    note: str | None = None


async def _approval_details(call: FakeUpstreamCall, args: Pay) -> ApprovalDetails:
    call.services.asked += 1
    await call.services.on_question()
    return ApprovalDetails(
        question=f"Pay {args.amount_cents} cents for {call.user_id}?", amount_cents=args.amount_cents
    )


async def _pay(call: FakeUpstreamCall, args: Pay) -> Paid:
    upstream = call.services
    await upstream.before()
    upstream.paid.append((call.user_id, call.idempotency_key, args.amount_cents))
    receipt = len(upstream.paid)
    await upstream.after()
    return Paid(receipt=receipt, amount_cents=args.amount_cents, note=args.note)


def _any_user(_: Mapping[str, Any]) -> bool:
    """Fit every call: the upstream has no users."""
    return True


@tool(
    title="Pay",
    toolset="funding",
    action_class=ActionClass.MONEY,
    approval_details=_approval_details,
    makes_user=_any_user,
    idempotent=False,
)
async def pay(call: FakeUpstreamCall, args: Pay) -> Paid:
    """Pay somebody."""
    return await _pay(call, args)


@tool(
    title="Tip",
    toolset="funding",
    action_class=ActionClass.MONEY,
    approval_details=_approval_details,
    makes_user=_any_user,
    idempotent=False,
)
async def tip(call: FakeUpstreamCall, args: Pay) -> Paid:
    """Pay somebody too, by another name."""
    return await _pay(call, args)


@tool(
    title="Note",
    toolset="observe",
    action_class=ActionClass.WRITE,
    makes_user=_any_user,
    idempotent=False,
)
async def note(call: FakeUpstreamCall, args: Pay) -> Paid:
    """Write down a payment; nobody is asked."""
    return await _pay(call, args)


class LookedLine(OutputPart):
    name: str
    count: int | None = None


class Nested(Input):
    words: list[Literal["red", "green"]] | None = Field(default=None, max_length=2)
    ratio: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    code: str = Field(default="abc", min_length=2, max_length=4, pattern=r"^[a-z]+$")
    deep: bool = False

    @classmethod
    def broken_rules(cls, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if given.get("deep") is True and "ratio" not in given:
            yield "(arguments)", "deep goes with ratio"


class Looked(Output):
    lines: list[LookedLine]
    first: LookedLine | None = None


@tool(title="Look", toolset="always", action_class=ActionClass.READ, idempotent=True, open_world=False)
async def look(call: FakeUpstreamCall, args: Nested) -> Looked:
    """Look around."""
    await call.services.before()
    await call.progress(0.5, "half way")
    await call.services.after()
    return Looked(lines=[LookedLine(name="one"), LookedLine(name="two", count=2)])


class Change(Pay):
    harmless: bool = False


def _change_class(args: Change) -> ActionClass:
    return ActionClass.WRITE if args.harmless else ActionClass.MONEY


async def _change_details(call: FakeUpstreamCall, args: Change) -> ApprovalDetails:
    return await _approval_details(call, args)


@tool(
    title="Change",
    toolset="cards",
    action_class=(ActionClass.WRITE, ActionClass.MONEY),
    action_class_of=_change_class,
    approval_details=_change_details,
    makes_user=_any_user,
    idempotent=False,
)
async def change(call: FakeUpstreamCall, args: Change) -> Paid:
    """Asks a person or not, by its arguments."""
    return await _pay(call, args)


TOOLS: tuple[Tool, ...] = (look, note, pay, tip, change)


def explain(error: Exception, tool: Tool) -> ToolError | None:
    """Map upstream errors to tool errors, as the composition root does."""
    if isinstance(error, UpstreamError):
        return ToolError(Code.PARTNER_UNAVAILABLE, next_steps=[NextStep("look", f"{tool.name} failed; look around.")])
    return None


@dataclass
class Harness:
    """The parts of one server, for tests to inspect."""

    upstream: FakeUpstream
    guard: Guard
    server: Server[Any]
    settling: Reconciler
    resources: Resources

    @property
    def approvals(self) -> ApprovalStore:
        return self.guard.approvals

    @asynccontextmanager
    async def client(self, era: Era, person: FakeApprover | None = None) -> AsyncIterator[Client]:
        """Connect a client in memory. Without a person it declares no dialog."""
        with anyio.fail_after(PATIENCE):
            async with Client(self.server, mode=era, elicitation_callback=person) as client:
                yield client


async def _no_desk(path: str) -> str | None:
    return None


async def _no_page(approval_id: str) -> None:
    pass


def build_harness(
    store: Store,
    clock: Clock,
    *,
    policy: Policy | None = None,
    tools: Sequence[Tool] = TOOLS,
    pinned_user: str | None = None,
    users: frozenset[str] | None = None,
    key: bytes = KEY,
    resources: Sequence[Resource] = (),
    desk: Callable[[str], Awaitable[str | None]] | None = None,
    page_ended: Callable[[str], Awaitable[None]] | None = None,
    output_filter: OutputFilter | None = None,
) -> Harness:
    """Wire a server over these tools as the composition root does. Without a policy it may act for `users`."""
    rules = policy or replace(default_policy("embedded", read_only=False), users=users)
    principal = Principal.of(pinned_user, rules.users)
    guard, upstream = build_guard(store, rules, principal, clock=clock), FakeUpstream()
    registry = Registry(tools, rules, principal, toolsets=ALL_TOOLSETS)
    runner = ToolRunner(guard.authorizer, upstream, explain, output_filter or OutputFilter(), guard.known_users)
    responses = ResponseBuilder(registry, {"environment": "test"})
    settling = Reconciler(guard, {tool.name: tool for tool in tools}, runner)
    dispatcher = Dispatcher(
        registry,
        guard.authorizer,
        runner,
        settling,
        responses,
        digest_key=KEY,
        desk=desk or _no_desk,
        page_ended=page_ended or _no_page,
    )
    identity = Identity("Test", "0", "Instructions.")
    loaded = Loaded(
        registry,
        dispatcher,
        Resources(resources, registry, dispatcher),
        Views([], {}, [], registry),
        Completions(dispatcher, principal),
        settling,
    )
    server = build_server(identity, lambda: loaded, RequestStateSecurity(keys=[key]))
    return Harness(upstream, guard, server, settling, loaded.resources)


def body(answer: types.CallToolResult | types.InputRequiredResult) -> dict[str, Any]:
    """Return the JSON object in a tool's result, after checking the result's form."""
    assert isinstance(answer, types.CallToolResult)
    found = json.loads(object_text(answer))
    assert isinstance(found, dict)
    assert found["environment"] == "test"
    if answer.is_error:
        assert answer.structured_content is None
        assert {"code", "message", "retryable", "next_steps"} <= found.keys()
    else:
        assert answer.structured_content == found
    return found


def code(answer: types.CallToolResult | types.InputRequiredResult) -> str:
    """Return the error's code, or `ok`."""
    found = body(answer)
    return str(found["code"]) if answer.model_dump().get("is_error") else "ok"
