"""Connect to the Partner API: its address, the partner key and the clients."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import anyio

from machines_mcp.redaction.output_filter import OutputFilter
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.settings import Settings
from machines_mcp.storage.journal import CallLog

if TYPE_CHECKING:
    from machines_mcp.partner import PartnerClient
    from machines_mcp.partner.models.base import OnAnswer
    from machines_mcp.partner.transport import HttpTransport
    from machines_mcp.server.sandbox_endpoint import Endpoint, SandboxChain
    from machines_mcp.storage.journal import CallContext, Journal


class EmbeddedApi(Protocol):
    """The simulator that a server uses in `embedded` mode. `http_transport` replaces the network if it is not None."""

    http_transport: HttpTransport | None

    async def endpoint(self) -> Endpoint: ...

    async def close(self) -> None: ...


class PartnerConnection:
    """Loads and starts everything on first use.

    `on_close` receives the close function of each opened resource, `alarm` the code of each alarm. `embedded` replaces
    the simulator process in tests.
    """

    def __init__(
        self,
        settings: Settings,
        output_filter: OutputFilter,
        journal: Callable[[], Journal],
        on_close: Callable[[Callable[[], Awaitable[None]]], None],
        alarm: Callable[[str], None],
        embedded: EmbeddedApi | None = None,
    ) -> None:
        self._settings = settings
        self._output_filter = output_filter
        self._load_journal = journal
        self._on_close = on_close
        self._alarm = alarm
        self._embedded = embedded
        self._lock = anyio.Lock()
        self._client: PartnerClient | None = None
        self._address: tuple[str, Secret] | None = None
        self._chains: Mapping[int, SandboxChain] = {}
        self._page: str | None = None
        """The page of the simulator that this server keeps running."""

    @cached_property
    def _journal(self) -> Journal:
        return self._load_journal()

    async def client(self, logged_as: CallContext | None = None) -> PartnerClient:
        """Return the shared client of the Partner API. In `embedded` mode this starts the simulator.

        With `logged_as`, the journal records its mutations as sent by that call.
        """
        if self._client is None:
            async with self._lock:
                if self._client is None:
                    self._client = await self.another()
        return self._client if logged_as is None else self._client.logging_to(CallLog(self._journal, logged_as))

    async def another(self, *, on_answer: OnAnswer | None = None) -> PartnerClient:
        """Return another client. `on_answer` is as in `PartnerClient`."""
        from machines_mcp.partner import PartnerClient

        if self._address is None:
            self._address = await self._find()
        url, key = self._address
        client = PartnerClient(
            url,
            key,
            proxy=self._settings.proxy,
            ca_certificates=self._settings.ca_certificates,
            http_transport=None if self._embedded is None else self._embedded.http_transport,
            trace=path_text(self._settings.trace),
            on_secret=self._output_filter.add_secret,
            on_answer=on_answer,
            on_mismatch=lambda endpoint, field: self._alarm(mismatch_code(endpoint, field)),
            mutations=self._journal,
        )
        self._on_close(client.aclose)
        return client

    async def endpoint(self) -> tuple[str, Secret]:
        """Return the address of the Partner API and the partner key, for the vault's client."""
        await self.client()
        return self._address or await self._find()

    async def simulator_chains(self) -> Mapping[int, SandboxChain]:
        """Return the chains of the embedded simulator by chain id; none of a real API."""
        if self._settings.simulated:
            await self.client()
        return self._chains

    async def simulator_page(self) -> str | None:
        """Return the address of the simulator's page; None if the API is no simulator, or if it does not run yet."""
        if self._page is None:
            from machines_mcp.server.simulator_page import find_simulator_page

            return await find_simulator_page(self._settings)
        return self._page

    async def _find(self) -> tuple[str, Secret]:
        if self._settings.api_url is not None and self._settings.partner_key is not None:
            return self._settings.api_url, self._settings.partner_key
        from machines_mcp.partner.errors import Unreachable
        from machines_mcp.server.sandbox_process import SandboxFailed, SandboxProcess

        if self._embedded is None:
            self._embedded = SandboxProcess(self._settings.state_dir)
        self._on_close(self._embedded.close)
        try:
            found = await self._embedded.endpoint()
        except SandboxFailed:
            raise Unreachable from None
        self._output_filter.add_secret(found.partner_key)
        if self._embedded.http_transport is None:
            self._page = found.control_url
        self._chains = found.chains
        return found.base_url, found.partner_key


def mismatch_code(endpoint: str, field: str) -> str:
    """Return the code of an alarm, such as `response.mismatch:GET.cards.cardId:cardId`."""
    words = (".".join(re.findall("[A-Za-z0-9]+", text)) for text in (endpoint, field))
    return ":".join(("response.mismatch", *words))


def path_text(path: Path | None) -> str | None:
    """Return a path of the settings as text, for a client."""
    return None if path is None else str(path)
