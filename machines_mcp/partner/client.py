"""The Partner API as a Python object."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from machines_mcp.partner.authenticated import AuthenticatedTransport
from machines_mcp.partner.endpoint import Endpoint
from machines_mcp.partner.models.base import OnAnswer
from machines_mcp.partner.mutation_log import MutationLog
from machines_mcp.partner.request import Credential, is_header_safe
from machines_mcp.partner.resources.agreements import AgreementsResource
from machines_mcp.partner.resources.balances import BalancesResource
from machines_mcp.partner.resources.cards import Cards
from machines_mcp.partner.resources.deposits import Deposits
from machines_mcp.partner.resources.encryption import Encryption
from machines_mcp.partner.resources.kyc import Kyc
from machines_mcp.partner.resources.transactions import Transactions
from machines_mcp.partner.resources.users import Users
from machines_mcp.partner.resources.withdrawals import Withdrawals
from machines_mcp.partner.sessions import Sessions
from machines_mcp.partner.trace import Trace
from machines_mcp.partner.transport import MAX_BYTES, Transport
from machines_mcp.redaction.secret import Secret

if TYPE_CHECKING:
    from machines_mcp.partner.transport import HttpTransport

DEADLINE_SECONDS = 30.0


class PartnerClient:
    """One partner's client for all of its users; an async context manager, which closes its connections at the end.

    Methods take the partner's own user id first, find or mint the session they need, and answer with frozen models.
    All they raise is below `machines_mcp.partner.errors.PartnerError`.

    Args:
        base_url: https, or http on loopback; up to and with `/partner/v1`.
        partner_key: What `X-Partner-Key` carries; visible ASCII. A plain string is wrapped at once.
        proxy: An http or https URL that calls go through, unless the API is on loopback. The environment is not asked.
        ca_file: PEM certificates to trust beside the system's.
        deadline: Seconds for a whole call, with the minting of a session, retries and the reading of the answer.
        max_bytes: The longest body that is read.
        card_secrets: Whether sessions with `cards.secrets.read` may be minted; else `ScopeRefused`, before sending.
        http_transport: Replaces the network, for tests.
        trace: A file to which the shape of every call is appended, never a value: see `machines_mcp.partner.trace`.
        on_secret: Told each session token as it is minted and when it expires (seconds since 1970), so that a guard can
            know what must not leave, and for how long.
        on_answer: Told each good answer before it is parsed, with the model it should be: see `partner.probe`.
        mutations: Told of each change before its first byte is sent, and what became of it: what it keeps survives a
            crash. With it a change that was begun is finished even where the caller gives up.
        clock: Seconds since 1970, as `time.time`.

    Raises:
        ValueError: A URL or the key is not as said above. The message is constant.
    """

    def __init__(
        self,
        base_url: str,
        partner_key: Secret | str,
        *,
        proxy: str | None = None,
        ca_file: str | None = None,
        deadline: float = DEADLINE_SECONDS,
        max_bytes: int = MAX_BYTES,
        card_secrets: bool = False,
        http_transport: HttpTransport | None = None,
        trace: str | None = None,
        on_secret: Callable[[Secret, float], None] | None = None,
        on_answer: OnAnswer | None = None,
        mutations: MutationLog | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        key = Secret(partner_key) if isinstance(partner_key, str) else partner_key
        if not is_header_safe(key):
            raise ValueError("the partner key must be visible ASCII without blanks")
        partner = Credential("X-Partner-Key", key)
        endpoint = Endpoint(base_url, proxy=proxy, ca_file=ca_file)
        self._transport = Transport(
            endpoint,
            max_bytes=max_bytes,
            http_transport=http_transport,
            trace=None if trace is None else Trace(trace),
            clock=clock,
        )
        self.sessions = Sessions(
            self._transport,
            partner,
            deadline=deadline,
            card_secrets=card_secrets,
            on_secret=on_secret,
            on_answer=on_answer,
            clock=clock,
        )
        channel = AuthenticatedTransport(
            self._transport, self.sessions, partner, deadline=deadline, on_answer=on_answer, mutations=mutations
        )
        self.users = Users(channel)
        self.kyc = Kyc(channel)
        self.agreements = AgreementsResource(channel)
        self.deposits = Deposits(channel)
        self.balances = BalancesResource(channel)
        self.withdrawals = Withdrawals(channel)
        self.encryption = Encryption(channel)
        self.cards = Cards(channel)
        self.transactions = Transactions(channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. The client can't be used afterwards."""
        await self._transport.aclose()
