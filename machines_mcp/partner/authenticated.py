"""Send authenticated requests with one deadline per call, and retry once with a new token after a 401."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import anyio

from machines_mcp.partner.envelope import Envelope
from machines_mcp.partner.errors import PartnerError, TransportError, Unauthorized
from machines_mcp.partner.models.base import A, Answered, OnAnswer, parse
from machines_mcp.partner.mutation_log import Mutation, MutationLog, Outcome
from machines_mcp.partner.request import Credential, Request
from machines_mcp.partner.scopes import Need
from machines_mcp.partner.sessions import CachedSession, Sessions
from machines_mcp.partner.transport import Transport

# Attributes that hold the id of a created resource.
_REFERENCES = ("card_id", "id")


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

    async def call(self, user_id: str, need: Need, request: Request, kind: type[A], *, inside: str | None = None) -> A:
        """Send `request` in a session of `user_id` that satisfies `need`, and parse the data or its key `inside`.

        On 401, drops the token, mints a new one and sends the same request once more.

        Raises:
            Unauthorized: The API refused the new token too, or the partner key.
            PartnerError: Any other failure.
        """
        deadline = anyio.current_time() + self._deadline
        held = await self._sessions.acquire(user_id, need, deadline=deadline)

        async def send(request: Request) -> Envelope:
            return await self._authorised(held, user_id, need, request, deadline)

        return await self._kept(user_id, request, send, kind, inside)

    async def call_as_partner(self, request: Request, kind: type[A]) -> A:
        """Send `request` with the partner key. Raises `PartnerError`."""
        deadline = anyio.current_time() + self._deadline

        async def send(request: Request) -> Envelope:
            return await self._transport.send(request, self._partner, deadline=deadline)

        return await self._kept(None, request, send, kind)

    async def _kept(
        self,
        user_id: str | None,
        request: Request,
        send: Callable[[Request], Awaitable[Envelope]],
        kind: type[A],
        inside: str | None = None,
    ) -> A:
        """Send the request and parse the response. Log a mutation before sending it, and its outcome afterwards."""
        log = self._mutations
        if log is None or not request.effect:
            return self._parsed(Answered(request, await send(request), kind, inside), kind)
        # Shielded, so that a cancelled caller still gets an outcome logged. The call's deadline still applies.
        with anyio.CancelScope(shield=True):
            entry = await log.begin(_mutation(user_id, request))
            try:
                envelope = await send(replace(request, on_sent=lambda: log.sent(entry)))
                answer = self._parsed(Answered(request, envelope, kind, inside), kind)
            except PartnerError as error:
                await log.end(entry, _outcome(error), status=error.status)
                raise
            except BaseException:
                await log.end(entry, "unknown")
                raise
            await log.end(entry, "done", reference=_reference(answer), status=envelope.status)
        return answer

    def _parsed(self, answered: Answered, kind: type[A]) -> A:
        if self._on_answer is not None:
            self._on_answer(answered)
        return parse(kind, answered.envelope, inside=answered.inside, effect=answered.request.effect)

    async def _authorised(
        self, held: CachedSession, user_id: str, need: Need, request: Request, deadline: float
    ) -> Envelope:
        newest = self._sessions.newest
        try:
            return await self._transport.send(request, held.credential, deadline=deadline, user_id=user_id)
        except Unauthorized:
            self._sessions.drop(held)
        # Use no session minted before this request: whatever voided this token may have voided those too.
        held = await self._sessions.acquire(user_id, need, deadline=deadline, newer_than=newest)
        try:
            return await self._transport.send(request, held.credential, deadline=deadline, user_id=user_id)
        except Unauthorized:
            self._sessions.drop(held)
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


def _reference(answer: object) -> str | None:
    found = (getattr(answer, name, None) for name in _REFERENCES)
    return next((reference for reference in found if isinstance(reference, str)), None)
