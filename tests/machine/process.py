"""One server process without an operating system process: the product's own parts, wired as in the server."""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal, NoReturn, TypeVar

import mcp_types as types

from machines_mcp.partner import PartnerClient
from machines_mcp.permissions.factory import Guard, build_guard
from machines_mcp.permissions.policy import Policy
from machines_mcp.protocol.dispatcher import Dispatcher
from machines_mcp.protocol.execution import ToolRunner
from machines_mcp.protocol.reconciliation import Reconciler
from machines_mcp.protocol.registry import Registry
from machines_mcp.protocol.responses import ResponseBuilder
from machines_mcp.redaction.output_filter import OutputFilter
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.stdio import RECONCILE_DELAY_SECONDS
from machines_mcp.storage.journal import CallContext, CallLog
from machines_mcp.storage.journal_entry import has_open_work
from machines_mcp.storage.migrations.stored_names import ARGUMENTS_KEY
from machines_mcp.storage.principal import Principal
from machines_mcp.storage.state_keys import state_key
from machines_mcp.storage.withdrawals import Withdrawals
from machines_mcp.tools.catalog import TOOLS
from machines_mcp.tools.error_mapping import map_error
from machines_mcp.tools.services import RECONCILE_SECONDS, Services, State, permissions
from tests.machine.disk import Disk, FaultyStore
from tests.machine.loop import Life, Schedule, living
from tests.machine.network import BASE, NetworkFaults, VirtualNetwork
from tests.machine.upstream import VirtualRequest, VirtualUpstream

T = TypeVar("T")

_TOOLSETS = frozenset({"onboarding", "funding", "withdrawals", "cards", "observe"})
USERS = ("user-1", "user-2")

_KEY = Secret("partner-key-of-the-machine")
_PRINCIPAL = Principal(frozenset(USERS))


@dataclass(frozen=True)
class Dialog:
    """The person's answer in the client's dialog."""

    approval_id: str
    respond: Literal["accept", "decline"]


@dataclass
class SharedEnvironment:
    """The parts that outlive a process."""

    disk: Disk
    schedule: Schedule
    upstream: VirtualUpstream
    weather: NetworkFaults
    policy: Policy
    clock: Callable[[], float]
    sent: Callable[[VirtualRequest], None]


class Process:
    """A server between start and kill."""

    def __init__(self, name: str, around: SharedEnvironment) -> None:
        self.life = Life(name)
        self.store = FaultyStore(around.disk, self.life, around.schedule)
        self.guard: Guard = build_guard(self.store, around.policy, _PRINCIPAL, clock=around.clock)
        network = VirtualNetwork(around.upstream, around.weather, self.life, around.schedule, around.sent)
        self._client = PartnerClient(
            f"http://127.0.0.1{BASE}",
            _KEY,
            http_transport=network,
            clock=around.clock,
            mutations=self.guard.journal,
        )
        registry = Registry(TOOLS, around.policy, _PRINCIPAL, toolsets=_TOOLSETS)
        runner = ToolRunner(
            self.guard.authorizer, self._services(around), map_error, OutputFilter(), self.guard.known_users
        )
        self.settling = Reconciler(self.guard, {tool.name: tool for tool in TOOLS}, runner)
        self.dispatcher = Dispatcher(
            registry,
            self.guard.authorizer,
            runner,
            self.settling,
            ResponseBuilder(registry, {"environment": "machine"}),
            digest_key=state_key(self.store.folder, ARGUMENTS_KEY),
            desk=_no_desk_address,
            page_ended=_no_page,
        )
        self.tasks: set[asyncio.Task[Any]] = set()
        """Its running tasks."""
        self.gave_up: Exception | None = None

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run work in this process until either ends."""
        task = contextvars.copy_context().run(self._begin, work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        living.set(self.life)
        return asyncio.ensure_future(work)

    async def simulator_page(self) -> None:
        """Return None, because nothing here serves a page."""

    async def reconcile_interrupted(self) -> None:
        """Reconcile interrupted calls in the background, as the server does after its start."""
        await asyncio.sleep(RECONCILE_DELAY_SECONDS)
        try:
            if await self.store.read(lambda db: has_open_work(db, _PRINCIPAL)):
                await self.settling.reconcile_all()
        except Exception as error:
            # The server logs the error and leaves the work to later calls.
            self.gave_up = error

    def _services(self, around: SharedEnvironment) -> Services:
        state = State(
            guard=self.guard,
            output_filter=OutputFilter(),
            withdrawals=Withdrawals(self.store, around.clock),
            permissions=permissions(around.policy),
            principal=_PRINCIPAL,
            reconcile_seconds=RECONCILE_SECONDS,
            clock=around.clock,
        )
        return Services(self, state, _nothing_to_show, _nothing_to_show, _nothing_to_show)

    async def call(self, tool: str, arguments: dict[str, Any], dialog: Dialog | None = None) -> dict[str, Any]:
        """Return the response to a `tools/call`. `dialog` answers the question about that approval."""
        params = types.CallToolRequestParams(name=tool, arguments=arguments)
        if dialog is not None:
            params.request_state = dialog.approval_id
            params.input_responses = {
                "approve": types.ElicitResult(action=dialog.respond, content={"decision": "approve"})
            }
        answer = await self.dispatcher.call(_context(), params)
        assert isinstance(answer, dict)
        found: dict[str, Any] = json.loads(answer["content"][0]["text"])
        return found | ({} if answer.get("isError") else {"code": "ok"})

    def drop(self) -> None:
        """Release what the system releases for a dead process."""
        self.die()
        self.store.drop()

    def die(self) -> None:
        """Kill it. From now on it has no effect, and other processes see that it is gone."""
        if self.life.alive:
            self.life.alive = False
            if self.guard.locks._own is not None:
                # The lock is released with the process, but its file remains.
                os.close(self.guard.locks._own[1])

    async def client(self, logged_as: CallContext) -> PartnerClient:
        """Return the client, whose mutations are journaled as sent by this call."""
        return self._client.logging_to(CallLog(self.guard.journal, logged_as))


def _context() -> Any:
    session = SimpleNamespace(client_capabilities=None, client_params=None, report_progress=_no_progress)
    return SimpleNamespace(session=session, protocol_version="2026-07-28", request_id=None)


async def _no_progress(fraction: float, total: float, message: str) -> None:
    pass


async def _no_page(approval_id: str) -> None:
    pass


async def _no_desk_address(path: str) -> str | None:
    return None


def _nothing_to_show() -> NoReturn:
    raise NotImplementedError
