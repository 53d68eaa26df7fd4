"""Session tokens with the least scopes: minted when a call needs one, shared by all who wait, replaced in time."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import anyio

from machines_mcp.partner.errors import KycRequired, Malformed, PartnerError, ScopeRefused, TimedOut
from machines_mcp.partner.models.base import Answered, OnAnswer, parse
from machines_mcp.partner.models.sessions import Session, SessionOrder
from machines_mcp.partner.request import Credential, Request, is_header_safe
from machines_mcp.partner.scopes import CARD_SECRETS, Need, Scope
from machines_mcp.partner.transport import Transport
from machines_mcp.redaction.secret import Secret

DEFAULT_TTL_SECONDS = 900

_USED_LIFE = 0.8
_MAX_CACHED = 1024

_Key = tuple[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class CachedSession:
    """A session in the cache. `due` is when it is to be replaced, `serial` grows with every mint."""

    session: Session
    key: _Key
    serial: int
    due: float

    @property
    def credential(self) -> Credential:
        """The header that a call under this session carries."""
        return Credential("Authorization", self.session.session_token, prefix="Bearer ")


class _PendingMint:
    """A mint under way, for those who wait for it."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.held: CachedSession | None = None
        self.error: PartnerError | None = None


class Sessions:
    """The sessions of one client, by user and set of scopes.

    A call takes the smallest live session that covers its need, else one is minted with just that. A session lives
    for 80 % of its time; the rest is kept free for calls that are under way. Times are in seconds.
    """

    def __init__(
        self,
        transport: Transport,
        partner: Credential,
        *,
        deadline: float,
        card_secrets: bool = False,
        on_secret: Callable[[Secret, float], None] | None = None,
        on_answer: OnAnswer | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._transport = transport
        self._partner = partner
        self._deadline = deadline
        self._card_secrets = card_secrets
        self._on_secret = on_secret
        self._on_answer = on_answer
        self._clock = clock
        self._held: dict[_Key, CachedSession] = {}
        self._flights: dict[_Key, _PendingMint] = {}
        self._serial = 0

    async def open(
        self,
        user_id: str,
        scopes: Iterable[str],
        *,
        ttl_seconds: int = DEFAULT_TTL_SECONDS,
        label: str | None = None,
        fresh: bool = False,
    ) -> Session:
        """The session of a user (1 to 120 characters) with exactly these scopes: `POST /sessions`.

        A live cached one is returned as it is; `fresh` mints anew and replaces it. `ttl_seconds` is 60 to 86400,
        `label` (at most 120 characters) is for the partner's own auditing.

        Raises:
            ScopeRefused: `cards.secrets.read` is among the scopes and this client is not for card secrets.
            InvalidRequest: An argument breaks its rule, here or at the API.
            KycRequired: The scopes reach beyond `kyc.*` and the user's KYC is not approved.
            PartnerError: Any other of the tree; `Unauthorized` means the partner key.
        """
        order = _order(user_id, scopes, ttl_seconds, label)
        deadline = anyio.current_time() + self._deadline
        if fresh:
            return (await self._mint(order, deadline)).session
        held = self._live(_key(order))
        return (held or await self._mint_once(order, deadline)).session

    @property
    def newest(self) -> int:
        """The serial of the latest mint of all."""
        return self._serial

    def cached(self, user_id: str) -> list[Session]:
        """The live sessions of a user, those with the fewest scopes first. Asks nobody."""
        return [held.session for held in self._covering(user_id, frozenset())]

    async def acquire(self, user_id: str, need: Need, *, deadline: float, newer_than: int = 0) -> CachedSession:
        """A session that meets `need`, cached or minted, of a later mint than `newer_than`.

        Raises:
            PartnerError: As `open`, and `TimedOut` at `deadline` (on the clock of `anyio.current_time`).
        """
        for held in self._covering(user_id, need.scopes):
            if held.serial > newer_than:
                return held
        *fallbacks, last = need.mint
        for scopes in fallbacks:
            try:
                return await self._mint_once(_order(user_id, scopes), deadline)
            except KycRequired:
                continue
        return await self._mint_once(_order(user_id, last), deadline)

    def drop(self, held: CachedSession) -> None:
        """Forget a session that the API refused."""
        if self._held.get(held.key) is held:
            del self._held[held.key]

    def _live(self, key: _Key) -> CachedSession | None:
        held = self._held.get(key)
        return held if held is not None and self._clock() < held.due else None

    def _covering(self, user_id: str, scopes: frozenset[Scope]) -> list[CachedSession]:
        keys = [key for key in self._held if key[0] == user_id and scopes <= key[1]]
        return [held for key in sorted(keys, key=lambda key: len(key[1])) if (held := self._live(key)) is not None]

    async def _mint_once(self, order: SessionOrder, deadline: float) -> CachedSession:
        key = _key(order)
        while (flight := self._flights.get(key)) is not None:
            with anyio.CancelScope(deadline=deadline) as scope:
                await flight.done.wait()
            if scope.cancelled_caught:
                raise TimedOut
            if flight.held is not None:
                return flight.held
            if flight.error is not None:
                # A copy, since the waiters' tracebacks would pile up on the one.
                raise copy.copy(flight.error)
            # Whoever minted was cancelled, so the first to come here takes over.
        flight = self._flights[key] = _PendingMint()
        try:
            flight.held = await self._mint(order, deadline)
        except PartnerError as error:
            flight.error = error
            raise
        finally:
            del self._flights[key]
            flight.done.set()
        return flight.held

    async def _mint(self, order: SessionOrder, deadline: float) -> CachedSession:
        if CARD_SECRETS in order.scopes and not self._card_secrets:
            raise ScopeRefused
        minted_at = self._clock()
        # A second session does no harm, so this may be repeated.
        request = Request("POST", "/sessions", body=order.wire(), repeatable=True)
        envelope = await self._transport.send(request, self._partner, deadline=deadline)
        if self._on_answer is not None:
            self._on_answer(Answered(request, envelope, Session))
        session = parse(Session, envelope)
        if not is_header_safe(session.session_token):
            raise Malformed
        if self._on_secret is not None:
            # By whichever clock is later: until then the token may open something.
            until = max(session.expires_at.timestamp(), minted_at + order.ttl_seconds)
            self._on_secret(session.session_token, until)
        life = session.expires_at.timestamp() - minted_at
        # By our clock; where the other end's is so far off that the expiry is past already, the order counts.
        life = min(life, order.ttl_seconds) if life > 0 else order.ttl_seconds
        self._serial += 1
        held = CachedSession(session, _key(order), self._serial, minted_at + _USED_LIFE * life)
        self._keep(held)
        return held

    def _keep(self, held: CachedSession) -> None:
        if len(self._held) >= _MAX_CACHED:
            self._held = {key: other for key, other in self._held.items() if self._clock() < other.due}
        if len(self._held) >= _MAX_CACHED:
            del self._held[min(self._held, key=lambda key: self._held[key].due)]
        self._held[held.key] = held


def _order(
    user_id: str, scopes: Iterable[str], ttl_seconds: int = DEFAULT_TTL_SECONDS, label: str | None = None
) -> SessionOrder:
    # The order checks that they are scopes.
    asked = cast("tuple[Scope, ...]", tuple(sorted(set(scopes))))
    return SessionOrder(user_id=user_id, scopes=asked, ttl_seconds=ttl_seconds, session_label=label)


def _key(order: SessionOrder) -> _Key:
    return order.user_id, frozenset(order.scopes)
