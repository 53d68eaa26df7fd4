"""The entry point of the Partner API client."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
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
from machines_mcp.partner.response_check import OnMismatch, ResponseCheck
from machines_mcp.partner.sessions import Sessions
from machines_mcp.partner.trace import Trace
from machines_mcp.partner.transport import MAX_BYTES, Transport
from machines_mcp.redaction.secret import Secret

if TYPE_CHECKING:
    from machines_mcp.partner.transport import HttpTransport

DEADLINE_SECONDS = 30.0


class PartnerClient:
    """The client for all users of one partner. An async context manager, which closes its connections on exit.

    Methods take the partner's own user id first, find or mint the session they need, and return frozen models.
    Every failure is a `machines_mcp.partner.errors.PartnerError`.

    Args:
        base_url: https, or http on loopback, including `/partner/v1`.
        partner_key: Value of `X-Partner-Key`; visible ASCII. A plain string is wrapped in a `Secret`.
        proxy: An http or https proxy URL, unused if the API is on loopback. Proxy environment variables are ignored.
        ca_certificates: PEM text of certificates to trust in addition to the system's.
        deadline: Seconds per call, including session minting, retries and reading the response.
        max_bytes: Maximum size of a response body.
        card_secrets: Whether sessions with `cards.secrets.read` may be minted. If not, `ScopeRefused` is raised.
        http_transport: Replaces the network, for tests.
        trace: File to which each call's shape is appended, without values. See `machines_mcp.partner.trace`.
        on_secret: Called with each minted session token and its expiry (seconds since 1970), so that an output filter
            can block the token until then.
        on_answer: Called with each successful response before it is parsed. See `machines_mcp.partner.probe`.
        on_mismatch: Called with the endpoint and the field of a response that does not fit its request, such as another
            card's. The call then raises `Mismatch`.
        mutations: Called before the first byte of each mutation is sent, and with its outcome. Its records must
            survive a crash. With it, a mutation that has begun is completed even if the caller is cancelled.
        clock: Seconds since 1970, like `time.time`.

    Raises:
        ValueError: A URL or the key is invalid. The message is constant.
    """

    def __init__(
        self,
        base_url: str,
        partner_key: Secret | str,
        *,
        proxy: str | None = None,
        ca_certificates: str | None = None,
        deadline: float = DEADLINE_SECONDS,
        max_bytes: int = MAX_BYTES,
        card_secrets: bool = False,
        http_transport: HttpTransport | None = None,
        trace: str | None = None,
        on_secret: Callable[[Secret, float], None] | None = None,
        on_answer: OnAnswer | None = None,
        on_mismatch: OnMismatch | None = None,
        mutations: MutationLog | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        key = Secret(partner_key) if isinstance(partner_key, str) else partner_key
        if not is_header_safe(key):
            raise ValueError("the partner key must be visible ASCII without spaces")
        partner = Credential("X-Partner-Key", key)
        endpoint = Endpoint(base_url, proxy=proxy, ca_certificates=ca_certificates)
        self._transport = Transport(
            endpoint,
            max_bytes=max_bytes,
            http_transport=http_transport,
            trace=None if trace is None else Trace(trace),
            clock=clock,
        )
        response_check = ResponseCheck(on_mismatch)
        self.sessions = Sessions(
            self._transport,
            partner,
            deadline=deadline,
            card_secrets=card_secrets,
            on_secret=on_secret,
            on_answer=on_answer,
            response_check=response_check,
            clock=clock,
        )
        self._channel = AuthenticatedTransport(
            self._transport,
            self.sessions,
            partner,
            deadline=deadline,
            response_check=response_check,
            on_answer=on_answer,
            mutations=mutations,
        )

    @cached_property
    def users(self) -> Users:
        """Users: step 2 of the journey."""
        return Users(self._channel)

    @cached_property
    def kyc(self) -> Kyc:
        """Identity checks: steps 3 to 6."""
        return Kyc(self._channel)

    @cached_property
    def agreements(self) -> AgreementsResource:
        """Agreements: step 7."""
        return AgreementsResource(self._channel)

    @cached_property
    def deposits(self) -> Deposits:
        """Deposits: step 8."""
        return Deposits(self._channel)

    @cached_property
    def balances(self) -> BalancesResource:
        """Balances: step 9."""
        return BalancesResource(self._channel)

    @cached_property
    def withdrawals(self) -> Withdrawals:
        """Withdrawals."""
        return Withdrawals(self._channel)

    @cached_property
    def encryption(self) -> Encryption:
        """Encryption of card labels: step 11."""
        return Encryption(self._channel)

    @cached_property
    def cards(self) -> Cards:
        """Cards: steps 12 and later."""
        return Cards(self._channel)

    @cached_property
    def transactions(self) -> Transactions:
        """Transactions: step 9."""
        return Transactions(self._channel)

    def logging_to(self, mutations: MutationLog) -> PartnerClient:
        """Return a view of this client that logs to `mutations`. It shares the connections, so only close one of them.

        With it, one client can serve many callers, each with a log that knows who sends.
        """
        view = object.__new__(PartnerClient)
        view._transport, view.sessions = self._transport, self.sessions
        view._channel = replace(self._channel, mutations=mutations)
        return view

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. The client can't be used afterwards."""
        await self._transport.aclose()
