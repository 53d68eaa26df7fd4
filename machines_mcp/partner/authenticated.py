"""Send authenticated requests with one deadline per call, and retry once with a new token after a 401."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

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


@dataclass(frozen=True, slots=True)
class AuthenticatedTransport:
    """API access shared by all resources. `deadline` is in seconds per call, including session minting."""

    transport: Transport
    sessions: Sessions
    partner: Credential
    deadline: float
    on_answer: OnAnswer | None = None
    mutations: MutationLog | None = None

    async def call(
        self, user_id: str, scopes: RequiredScopes, request: Request, model: type[A], *, key: str | None = None
    ) -> A:
        """Send `request` in a session of `user_id` that satisfies `scopes`, and parse the data, or its value at `key`.

        On 401, drops the token, mints a new one and sends the same request once more.

        Raises:
            Unauthorized: The API refused the new token too, or the partner key.
            PartnerError: Any other failure.
        """
        deadline = anyio.current_time() + self.deadline
        if self.mutations is not None and request.mutates:
            return await self._send_logged(self.mutations, user_id, scopes, request, deadline, model, key)
        envelope = await self._send_authorized(user_id, scopes, None, request, deadline)
        if self.on_answer is not None:
            self.on_answer(ReceivedResponse(request, envelope, model, key))
        return parse(model, envelope, key=key, mutates=request.mutates)

    async def call_as_partner(self, request: Request, model: type[A]) -> A:
        """Send `request` with the partner key. Raises `PartnerError`."""
        deadline = anyio.current_time() + self.deadline
        if self.mutations is not None and request.mutates:
            return await self._send_logged(self.mutations, None, None, request, deadline, model)
        envelope = await self.transport.send(request, self.partner, deadline=deadline)
        if self.on_answer is not None:
            self.on_answer(ReceivedResponse(request, envelope, model))
        return parse(model, envelope, mutates=request.mutates)

    async def _send_logged(
        self,
        log: MutationLog,
        user_id: str | None,
        scopes: RequiredScopes | None,
        request: Request,
        deadline: float,
        model: type[A],
        key: str | None = None,
    ) -> A:
        """Send a mutation and parse the response. Log it before sending it, and its outcome afterwards.

        Without `user_id` and `scopes`, it is sent with the partner key.
        """
        # Nothing is logged if there is no session: then nothing can be sent.
        session = None
        if user_id is not None and scopes is not None:
            session = user_id, scopes, await self.sessions.acquire(user_id, scopes, deadline=deadline)
        mutation = Mutation(
            user_id=user_id,
            operation=f"{request.method} {request.path}",
            idempotency_key=request.idempotency_key,
            body=request.content,
            keep_body=request.keep_body,
            ids=request.ids,
        )
        # Shielded, so that a cancelled caller still gets an outcome logged. The call's deadline still applies.
        with anyio.CancelScope(shield=True):
            entry = await log.begin(mutation)
            try:
                request = replace(request, on_sent=partial(log.sent, entry))
                if session is None:
                    envelope = await self.transport.send(request, self.partner, deadline=deadline)
                else:
                    envelope = await self._send_authorized(*session, request, deadline)
                if self.on_answer is not None:
                    self.on_answer(ReceivedResponse(request, envelope, model, key))
                response = parse(model, envelope, key=key, mutates=True)
            except PartnerError as error:
                await log.end(entry, _outcome(error), status=error.status)
                raise
            except BaseException:
                await log.end(entry, "unknown")
                raise
            ids = (getattr(response, name, None) for name in _ID_ATTRIBUTES)
            reference = next((value for value in ids if isinstance(value, str)), None)
            await log.end(entry, "done", reference=reference, status=envelope.status)
        return response

    async def _send_authorized(
        self, user_id: str, scopes: RequiredScopes, cached: CachedSession | None, request: Request, deadline: float
    ) -> Envelope:
        cached = cached or await self.sessions.acquire(user_id, scopes, deadline=deadline)
        newest = self.sessions.latest_serial
        try:
            return await self.transport.send(request, cached.credential, deadline=deadline, user_id=user_id)
        except Unauthorized:
            self.sessions.drop(cached)
        # Use no session minted before this request: whatever voided this token may have voided those too.
        cached = await self.sessions.acquire(user_id, scopes, deadline=deadline, newer_than=newest)
        try:
            return await self.transport.send(request, cached.credential, deadline=deadline, user_id=user_id)
        except Unauthorized:
            self.sessions.drop(cached)
            raise


def _outcome(error: PartnerError) -> Outcome:
    if not error.outcome_known:
        return "unknown"
    return "unsent" if isinstance(error, TransportError) else "rejected"
