"""Mint session tokens with the fewest scopes, share them between calls, and replace them before they expire."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import anyio

from machines_mcp.partner.errors import KycRequired, Malformed, PartnerError, ScopeRefused, TimedOut
from machines_mcp.partner.models.base import OnAnswer, ReceivedResponse, parse
from machines_mcp.partner.models.sessions import CreateSessionBody, Session
from machines_mcp.partner.request import Credential, Request, is_header_safe
from machines_mcp.partner.response_check import ResponseCheck
from machines_mcp.partner.scopes import CARD_SECRETS, RequiredScopes, Scope
from machines_mcp.partner.transport import Transport
from machines_mcp.redaction.secret import Secret

DEFAULT_TTL_SECONDS = 900

_USED_SHARE_OF_LIFETIME = 0.8
_MAX_CACHED = 1024

_Key = tuple[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class CachedSession:
    """A cached session. `renew_at` is when to replace it; `serial` increases with every mint."""

    session: Session
    key: _Key
    serial: int
    renew_at: float
    credential: Credential
    """The `Authorization` header for calls in this session."""


class _PendingMint:
    """A mint in progress and its result, for the callers that wait for it."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.result: CachedSession | None = None
        self.error: PartnerError | None = None


class Sessions:
    """The sessions of one client, by user and set of scopes.

    A call uses the live session with the fewest scopes that cover its need. If there is none, one is minted with only
    those scopes. A session is used for 80 % of its lifetime, to leave time for calls in flight. Times are in seconds.
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
        response_check: ResponseCheck,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._transport = transport
        self._partner = partner
        self._deadline = deadline
        self._card_secrets = card_secrets
        self._on_secret = on_secret
        self._on_answer = on_answer
        self._response_check = response_check
        self._clock = clock
        self._cached: dict[_Key, CachedSession] = {}
        self._pending: dict[_Key, _PendingMint] = {}
        self.latest_serial = 0
        """The serial of the latest mint, for any user."""

    async def open(
        self,
        user_id: str,
        scopes: Iterable[str],
        *,
        ttl_seconds: int = DEFAULT_TTL_SECONDS,
        label: str | None = None,
        fresh: bool = False,
    ) -> Session:
        """Return a user's session with exactly these scopes: `POST /sessions`.

        A live cached session is returned unless `fresh`, which replaces it. `user_id` has 1 to 120 characters, `label`
        at most 120; it is for the partner's own auditing. `ttl_seconds` is 60 to 86400.

        Raises:
            ScopeRefused: The scopes include `cards.secrets.read` and the client was created without `card_secrets`.
            InvalidRequest: The client or the API refused an argument.
            KycRequired: The scopes go beyond `kyc.*` and the user's KYC is not approved.
            PartnerError: Any other failure. `Unauthorized` means that the partner key was refused.
        """
        order = _order(user_id, scopes, ttl_seconds, label)
        deadline = anyio.current_time() + self._deadline
        if fresh:
            return (await self._mint(order, deadline)).session
        cached = self._live(_key(order))
        return (cached or await self._mint_once(order, deadline)).session

    def cached(self, user_id: str) -> list[Session]:
        """Return a user's live sessions, fewest scopes first, without calling the API."""
        return [cached.session for cached in self._covering(user_id, frozenset())]

    async def acquire(
        self, user_id: str, required: RequiredScopes, *, deadline: float, newer_than: int = 0
    ) -> CachedSession:
        """Return a session that satisfies `required`, cached or minted, with a serial above `newer_than`.

        Raises:
            PartnerError: As in `open`, and `TimedOut` at `deadline` (on the clock of `anyio.current_time`).
        """
        for cached in self._covering(user_id, required.scopes):
            if cached.serial > newer_than:
                return cached
        *fallbacks, last = required.mint_options
        for scopes in fallbacks:
            try:
                return await self._mint_once(_order(user_id, scopes), deadline)
            except KycRequired:
                continue
        return await self._mint_once(_order(user_id, last), deadline)

    def drop(self, cached: CachedSession) -> None:
        """Forget a session that the API refused."""
        if self._cached.get(cached.key) is cached:
            del self._cached[cached.key]

    def _live(self, key: _Key) -> CachedSession | None:
        cached = self._cached.get(key)
        return cached if cached is not None and self._clock() < cached.renew_at else None

    def _covering(self, user_id: str, scopes: frozenset[Scope]) -> list[CachedSession]:
        keys = [key for key in self._cached if key[0] == user_id and scopes <= key[1]]
        return [cached for key in sorted(keys, key=lambda key: len(key[1])) if (cached := self._live(key)) is not None]

    async def _mint_once(self, order: CreateSessionBody, deadline: float) -> CachedSession:
        key = _key(order)
        while (pending := self._pending.get(key)) is not None:
            with anyio.CancelScope(deadline=deadline) as scope:
                await pending.done.wait()
            if scope.cancelled_caught:
                raise TimedOut
            if pending.result is not None:
                return pending.result
            if pending.error is not None:
                # A copy, because every waiter would add its traceback to the shared error.
                raise copy.copy(pending.error)
            # The minting call was cancelled, so the first waiter to get here takes over.
        pending = self._pending[key] = _PendingMint()
        try:
            pending.result = await self._mint(order, deadline)
        except PartnerError as error:
            pending.error = error
            raise
        finally:
            del self._pending[key]
            pending.done.set()
        return pending.result

    async def _mint(self, order: CreateSessionBody, deadline: float) -> CachedSession:
        if CARD_SECRETS in order.scopes and not self._card_secrets:
            raise ScopeRefused
        minted_at = self._clock()
        # A second session is harmless, so this may be retried.
        request = Request("POST", "/sessions", body=order.to_json(), repeatable=True)
        envelope = await self._transport.send(request, self._partner, deadline=deadline)
        if self._on_answer is not None:
            self._on_answer(ReceivedResponse(request, envelope, Session))
        session = parse(Session, envelope)
        if not is_header_safe(session.session_token):
            raise Malformed
        expires_at = minted_at if session.expires_at is None else session.expires_at.timestamp()
        if self._on_secret is not None:
            # The later of both clocks, because the token may be valid until then.
            self._on_secret(session.session_token, max(expires_at, minted_at + order.ttl_seconds))
        # After the token is known as a secret: it is one even if it is refused here.
        self._response_check.check(request, envelope)
        life = expires_at - minted_at
        # By our clock. If the expiry is unknown, or in the past by the API's own clock, use the requested lifetime.
        life = min(life, order.ttl_seconds) if life > 0 else order.ttl_seconds
        self.latest_serial += 1
        renew_at = minted_at + _USED_SHARE_OF_LIFETIME * life
        credential = Credential("Authorization", session.session_token, prefix="Bearer ")
        cached = CachedSession(session, _key(order), self.latest_serial, renew_at, credential)
        self._store(cached)
        return cached

    def _store(self, cached: CachedSession) -> None:
        if len(self._cached) >= _MAX_CACHED:
            self._cached = {key: other for key, other in self._cached.items() if self._clock() < other.renew_at}
        if len(self._cached) >= _MAX_CACHED:
            del self._cached[min(self._cached, key=lambda key: self._cached[key].renew_at)]
        self._cached[cached.key] = cached


def _order(
    user_id: str, scopes: Iterable[str], ttl_seconds: int = DEFAULT_TTL_SECONDS, label: str | None = None
) -> CreateSessionBody:
    # SessionOrder validates the scopes.
    requested = cast("tuple[Scope, ...]", tuple(sorted(set(scopes))))
    return CreateSessionBody(user_id=user_id, scopes=requested, ttl_seconds=ttl_seconds, session_label=label)


def _key(order: CreateSessionBody) -> _Key:
    return order.user_id, frozenset(order.scopes)
