"""The components that handle requests. Importing this module takes about as long as all of a server's own start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from machines_mcp.protocol.apps import Views
from machines_mcp.protocol.completion import Completions
from machines_mcp.protocol.dispatcher import Dispatcher
from machines_mcp.protocol.execution import ToolRunner
from machines_mcp.protocol.handlers import Loaded
from machines_mcp.protocol.reconciliation import Reconciler
from machines_mcp.protocol.registry import Registry
from machines_mcp.protocol.resources import Resources
from machines_mcp.protocol.responses import ResponseBuilder
from machines_mcp.protocol.tool_call import CallReader
from machines_mcp.storage.migrations.stored_names import ARGUMENTS_KEY
from machines_mcp.storage.state_keys import state_key
from machines_mcp.storage.withdrawals import Withdrawals
from machines_mcp.tools import services as tool_services
from machines_mcp.tools.catalog import TOOLS, installed_tools
from machines_mcp.tools.error_mapping import map_error
from machines_mcp.tools.resources import RESOURCES
from machines_mcp.tools.services import Services, State, permissions
from machines_mcp.tools.views import CALLED, VIEWS, links

if TYPE_CHECKING:
    from machines_mcp.permissions.factory import Guard
    from machines_mcp.protocol.person_calls import PersonCalls
    from machines_mcp.redaction.output_filter import OutputFilter
    from machines_mcp.server.card_reveals import CardReveals
    from machines_mcp.server.desk import ServerDesk
    from machines_mcp.server.partner_connection import PartnerConnection
    from machines_mcp.server.settings import Settings
    from machines_mcp.tools.withdrawal_plans import WithdrawalPlans


def build_components(
    settings: Settings,
    guard: Guard,
    output_filter: OutputFilter,
    connection: PartnerConnection,
    *,
    plans: Callable[[], WithdrawalPlans],
    reveals: Callable[[], CardReveals],
    desk: Callable[[], ServerDesk],
    page_ended: Callable[[str], Awaitable[None]],
) -> Loaded:
    """Build and connect the components of a server. `page_ended` waits until a decided call has ended.

    Raises:
        StoreUnavailable: The state folder can't be used.
    """
    state = State(
        guard=guard,
        output_filter=output_filter,
        withdrawals=Withdrawals(guard.store),
        permissions=permissions(guard.policy),
        principal=guard.principal,
        reconcile_seconds=tool_services.RECONCILE_SECONDS,
    )
    services = Services(connection, state, plans, reveals, desk)
    registry = Registry(
        installed_tools(),
        guard.policy,
        guard.principal,
        toolsets=settings.toolsets,
        ask_in_client=settings.ask_in_client,
    )
    stamp: dict[str, Any] = {"environment": settings.environment.value}
    if settings.simulated:
        stamp["simulated"] = True
    runner = ToolRunner(guard.authorizer, services, map_error, output_filter, guard.known_users)
    # All tools, because a disabled one may have left interrupted calls.
    reconciler = Reconciler(guard, {tool.name: tool for tool in TOOLS}, runner)
    dispatcher = Dispatcher(
        registry,
        guard.authorizer,
        runner,
        reconciler,
        ResponseBuilder(registry, stamp),
        digest_key=state_key(settings.state_dir, ARGUMENTS_KEY),
        desk=lambda path: desk().address(path),
        page_ended=page_ended,
    )
    return Loaded(
        registry,
        dispatcher,
        Resources(RESOURCES, registry, dispatcher),
        Views(VIEWS, links(registry), CALLED, registry),
        Completions(dispatcher, guard.principal),
        reconciler,
    )


def build_person_calls(settings: Settings, guard: Guard, loaded: Loaded) -> PersonCalls:
    """Build what runs the calls that a person makes at the desk."""
    from machines_mcp.protocol.person_calls import PersonCalls

    key = state_key(settings.state_dir, ARGUMENTS_KEY)
    reader = CallReader(loaded.registry, key, lambda tool, raw: dict(raw))
    return PersonCalls(guard, loaded.registry, reader, loaded.reconciler.runner, loaded.reconciler)
