"""Send authenticated requests with one deadline per call, and retry once with a new token after a 401."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio

from machines_mcp.partner.envelope import Envelope
from machines_mcp.partner.errors import PartnerError, TransportError, Unauthorized
from machines_mcp.partner.models.base import A, OnAnswer, ReceivedResponse, parse
from machines_mcp.partner.mutation_log import Mutation, MutationLog, Outcome
from machines_mcp.partner.request import Credential, Request
from machines_mcp.partner.scopes import RequiredScopes
from machines_mcp.partner.sessions import CachedSession, Sessions
from machines_mcp.partner.transport import Transport

# Attributes that hold the id of a created resource.
_ID_ATTRIBUTES = ("card_id", "id")


class AuthenticatedTransport:
    """API access shared by all resources. `deadline` is in seconds per call, including session minting."""

    def __init__(
        self,
        transport: Transport,
        sessions: Sessions,
        partner: Credential,
        *,
        deadline: float,
        on_answer: OnAnswer | None = None,
        mutations: MutationLog | None = None,
    ) -> None:
        self._transport = transport
        self._sessions = sessions
        self._partner = partner
        self._deadline = deadline
        self._on_answer = on_answer
        self._mutations = mutations

    async def call(
        self, user_id: str, scopes: RequiredScopes, request: Request, model: type[A], *, key: str | None = None
    ) -> A:
        """Send `request` in a session of `user_id` that satisfies `scopes`, and parse the data, or its value at `key`.

        On 401, drops the token, mints a new one and sends the same request once more.

        Raises:
            Unauthorized: The API refused the new token too, or the partner key.
            PartnerError: Any other failure.
        """
        deadline = anyio.current_time() + self._deadline
        cached = await self._sessions.acquire(user_id, scopes, deadline=deadline)

        async def send(request: Request) -> Envelope:
            return await self._send_authorized(cached, user_id, scopes, request, deadline)

        return await self._send_logged(user_id, request, send, model, key)

    async def call_as_partner(self, request: Request, model: type[A]) -> A:
        """Send `request` with the partner key. Raises `PartnerError`."""
        deadline = anyio.current_time() + self._deadline

        async def send(request: Request) -> Envelope:
            return await self._transport.send(request, self._partner, deadline=deadline)

        return await self._send_logged(None, request, send, model)

    async def _send_logged(
        self,
        user_id: str | None,
        request: Request,
        send: Callable[[Request], Awaitable[Envelope]],
        model: type[A],
        key: str | None = None,
    ) -> A:
        """Send the request and parse the response. Log a mutation before sending it, and its outcome afterwards."""
        log = self._mutations
        if log is None or not request.mutates:
            return self._parse(ReceivedResponse(request, await send(request), model, key), model)
        # Shielded, so that a cancelled caller still gets an outcome logged. The call's deadline still applies.
        with anyio.CancelScope(shield=True):
            entry = await log.begin(_mutation(user_id, request))
            try:
                envelope = await send(replace(request, on_sent=lambda: log.sent(entry)))
                response = self._parse(ReceivedResponse(request, envelope, model, key), model)
            except PartnerError as error:
                await log.end(entry, _outcome(error), status=error.status)
                raise
            except BaseException:
                await log.end(entry, "unknown")
                raise
            await log.end(entry, "done", reference=_reference(response), status=envelope.status)
        return response

    def _parse(self, received: ReceivedResponse, model: type[A]) -> A:
        if self._on_answer is not None:
            self._on_answer(received)
        return parse(model, received.envelope, key=received.key, mutates=received.request.mutates)

    async def _send_authorized(
        self, cached: CachedSession, user_id: str, scopes: RequiredScopes, request: Request, deadline: float
    ) -> Envelope:
        newest = self._sessions.latest_serial
        try:
            return await self._transport.send(request, cached.credential, deadline=deadline, user_id=user_id)
        except Unauthorized:
            self._sessions.drop(cached)
        # Use no session minted before this request: whatever voided this token may have voided those too.
        cached = await self._sessions.acquire(user_id, scopes, deadline=deadline, newer_than=newest)
        try:
            return await self._transport.send(request, cached.credential, deadline=deadline, user_id=user_id)
        except Unauthorized:
            self._sessions.drop(cached)
            raise


def _mutation(user_id: str | None, request: Request) -> Mutation:
    return Mutation(
        user_id=user_id,
        operation=f"{request.method} {request.path}",
        idempotency_key=request.idempotency_key,
        body=request.content,
        keep_body=request.keep_body,
        ids=request.ids,
    )


def _outcome(error: PartnerError) -> Outcome:
    if not error.outcome_known:
        return "unknown"
    return "unsent" if isinstance(error, TransportError) else "rejected"


def _reference(response: object) -> str | None:
    found = (getattr(response, name, None) for name in _ID_ATTRIBUTES)
    return next((reference for reference in found if isinstance(reference, str)), None)
