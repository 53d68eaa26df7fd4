"""Connect the desk to its server, and open its pages in a browser."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

import anyio.to_thread

from machines_mcp.chain.extras import plans_evm, plans_solana
from machines_mcp.desk.dependencies import CardPage, DeskDependencies, FormResult, TakeDecision
from machines_mcp.desk.server import Desk
from machines_mcp.permissions.decision import MESSAGES
from machines_mcp.protocol.errors import ToolError
from machines_mcp.server.browser import open_page
from machines_mcp.storage.state_keys import state_key
from machines_mcp.tools.catalog import TOOLS
from machines_mcp.tools.kyc_status import meaning
from machines_mcp.tools.locked_cards import LockedCardsService
from machines_mcp.tools.outcome_sentence import outcome_sentence
from machines_mcp.tools.withdrawal_page import WithdrawalPageService

if TYPE_CHECKING:
    from machines_mcp.partner import KycStatus, KycValues
    from machines_mcp.permissions.decision import Decision
    from machines_mcp.permissions.factory import Guard
    from machines_mcp.protocol.person_calls import PersonCalls
    from machines_mcp.server.partner_connection import PartnerConnection
    from machines_mcp.server.settings import Settings
    from machines_mcp.tools.withdrawal_plans import WithdrawalPlans

    Fulfil: TypeAlias = Callable[[str, Mapping[str, str], TakeDecision], Awaitable[Decision]]


class ServerDesk:
    """The desk of one server. With `opens_pages`, pages open in a browser on this machine.

    `fulfil` runs a waiting call with the values of a form, or raises `ToolError`.
    `open_card` starts the vault's page of a waiting reveal and returns its address, or raises `ToolError`.
    `contains_secret` says whether no page may show a text. `plans` are those of withdrawals.
    `person_calls` runs the calls that a person makes at the desk.
    """

    def __init__(
        self,
        settings: Settings,
        guard: Guard,
        connection: PartnerConnection,
        fulfil: Fulfil,
        open_card: Callable[[str], Awaitable[str | None]],
        contains_secret: Callable[[str], bool],
        plans: WithdrawalPlans,
        person_calls: Callable[[], PersonCalls],
        *,
        opens_pages: bool,
    ) -> None:
        self._guard = guard
        self._connection = connection
        self._run_call = fulfil
        self._start_card_page = open_card
        self._state_dir = settings.state_dir
        self._opens_pages = opens_pages
        self.desk = Desk(
            DeskDependencies(
                environment=settings.environment.value,
                guard=guard,
                key=state_key(settings.state_dir, "desk"),
                titles={tool.name: tool.title for tool in TOOLS},
                outcome_sentence=outcome_sentence,
                kyc_values=self._kyc_values,
                kyc_status=self._kyc_status,
                kyc_meaning=meaning,
                submit_form=self._fulfil,
                open_card=self._open_card,
                simulator_page=connection.simulator_page,
                contains_secret=contains_secret,
                locked_cards=LockedCardsService(guard, person_calls),
                withdrawals=WithdrawalPageService(plans) if plans_evm() or plans_solana() else None,
            ),
            settings.desk_port,
        )

    async def address(self, path: str = "") -> str | None:
        """Start the desk if needed, open a tab if allowed, and return the URL of `path`; None if it can't start."""
        home = await self.desk.address()
        if home is None:
            return None
        if self._opens_pages:
            await anyio.to_thread.run_sync(open_page, home + path, self._state_dir)
        return home + path

    async def identity(self, user_id: str) -> str | None:
        """Return the address of a user's identity check; None if the desk can't start."""
        from machines_mcp.desk.identity_page import identity_path

        return await self.address(identity_path(user_id))

    async def withdrawal(self, withdrawal_id: str) -> str | None:
        """Return the address of a withdrawal's page, without opening it; None if the desk can't start."""
        home = await self.desk.address()
        return None if home is None else f"{home}withdrawals/{withdrawal_id}"

    async def _kyc_status(self, user_id: str) -> KycStatus:
        return await (await self._connection.client()).kyc.status(user_id)

    async def _kyc_values(self, user_id: str) -> KycValues:
        return await (await self._connection.client()).kyc.values(user_id)

    async def _fulfil(self, approval_id: str, values: Mapping[str, str], take: TakeDecision) -> FormResult:
        try:
            return FormResult(await self._run_call(approval_id, values, take))
        except ToolError as tool_error:
            faults = tuple((fault.field, fault.rule) for fault in tool_error.fields)
            waits = await self._guard.channels.get(approval_id) is not None
            return FormResult("faulty" if waits else "failed", faults, tool_error.message)

    async def _open_card(self, approval_id: str) -> CardPage:
        try:
            address = await self._start_card_page(approval_id)
        except ToolError as tool_error:
            return CardPage(message=tool_error.message)
        return CardPage(address, "" if address else MESSAGES["gone"])
