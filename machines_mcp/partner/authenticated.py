"""Send authenticated requests with one deadline per call, and retry once with a new token after a 401."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial

import anyio

from machines_mcp.partner.envelope import Envelope
from machines_mcp.partner.errors import PartnerError, TransportError, Unauthorized
from machines_mcp.partner.models.base import A, OnAnswer, ReceivedResponse, parse
from machines_mcp.partner.mutation_log import Mutation, MutationLog, Outcome
from machines_mcp.partner.request import Credential, Request
from machines_mcp.partner.response_check import ResponseCheck
from machines_mcp.partner.scopes import RequiredScopes
from machines_mcp.partner.sessions import CachedSession, Sessions
from machines_mcp.partner.transport import Transport
from machines_mcp.partner.vocabulary import RECORD_ID

# Names of the id of a created resource.
_ID_NAMES = ("cardId", "id")
_ID = re.compile(RECORD_ID)


@dataclass(frozen=True, slots=True)
class AuthenticatedTransport:
    """API access shared by all resources. `deadline` is in seconds per call, including session minting."""

    transport: Transport
    sessions: Sessions
    partner: Credential
    deadline: float
    response_check: ResponseCheck
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
        return self._parsed(request, envelope, model, key, user_id)

    async def call_as_partner(self, request: Request, model: type[A]) -> A:
        """Send `request` with the partner key. Raises `PartnerError`."""
        deadline = anyio.current_time() + self.deadline
        if self.mutations is not None and request.mutates:
            return await self._send_logged(self.mutations, None, None, request, deadline, model)
        envelope = await self.transport.send(request, self.partner, deadline=deadline)
        return self._parsed(request, envelope, model)

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
            envelope = None
            try:
                request = replace(request, on_sent=partial(log.sent, entry))
                if session is None:
                    envelope = await self.transport.send(request, self.partner, deadline=deadline)
                else:
                    envelope = await self._send_authorized(*session, request, deadline)
                response = self._parsed(request, envelope, model, key, user_id)
            except PartnerError as error:
                # What the unusable response says was created is where reconciliation looks first.
                created = None if envelope is None or request.ids else _created_id(envelope, key)
                await log.end(entry, _outcome(error), reference=created, status=error.status)
                raise
            except BaseException:
                await log.end(entry, "unknown")
                raise
            await log.end(entry, "done", reference=_created_id(envelope, key), status=envelope.status)
        return response

    def _parsed(
        self,
        request: Request,
        envelope: Envelope,
        model: type[A],
        key: str | None = None,
        user_id: str | None = None,
    ) -> A:
        if self.on_answer is not None:
            self.on_answer(ReceivedResponse(request, envelope, model, key))
        response = parse(model, envelope, key=key, mutates=request.mutates)
        self.response_check.check(request, envelope, user_id)
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


def _created_id(envelope: Envelope, key: str | None) -> str | None:
    """Return the id of the resource in a response, if it has one that a path can hold."""
    data = envelope.data if key is None else envelope.data.get(key)
    ids = (data.get(name) for name in _ID_NAMES) if isinstance(data, dict) else ()
    return next((value for value in ids if isinstance(value, str) and _ID.fullmatch(value)), None)
