"""One authorised question to the API: the right credential, one deadline, one second try with a new token."""

from __future__ import annotations

import anyio

from machines_mcp.partner.envelope import Envelope
from machines_mcp.partner.errors import Unauthorized
from machines_mcp.partner.models.base import A, Answered, OnAnswer, parse
from machines_mcp.partner.request import Credential, Request
from machines_mcp.partner.scopes import Need
from machines_mcp.partner.sessions import Sessions
from machines_mcp.partner.transport import Transport


class Channel:
    """What all resources of one client share. `deadline` is in seconds and holds for a whole call, mints included."""

    def __init__(
        self,
        transport: Transport,
        sessions: Sessions,
        partner: Credential,
        *,
        deadline: float,
        on_answer: OnAnswer | None = None,
    ) -> None:
        self._transport = transport
        self._sessions = sessions
        self._partner = partner
        self._deadline = deadline
        self._on_answer = on_answer

    async def call(self, user_id: str, need: Need, request: Request, kind: type[A], *, inside: str | None = None) -> A:
        """Ask under a session of `user_id` that meets `need`; the data, or what is `inside` it, as a `kind`.

        On 401 the token is dropped, a new one minted, and the same request sent once more.

        Raises:
            Unauthorized: The new token was refused as well, or the partner key was.
            PartnerError: Any of the tree.
        """
        deadline = anyio.current_time() + self._deadline
        envelope = await self._authorised(user_id, need, request, deadline)
        return self._parsed(Answered(request, envelope, kind, inside), kind)

    async def call_as_partner(self, request: Request, kind: type[A]) -> A:
        """Ask under the partner key. Raises `PartnerError`."""
        deadline = anyio.current_time() + self._deadline
        envelope = await self._transport.send(request, self._partner, deadline=deadline)
        return self._parsed(Answered(request, envelope, kind), kind)

    def _parsed(self, answered: Answered, kind: type[A]) -> A:
        if self._on_answer is not None:
            self._on_answer(answered)
        return parse(kind, answered.envelope, inside=answered.inside, effect=answered.request.effect)

    async def _authorised(self, user_id: str, need: Need, request: Request, deadline: float) -> Envelope:
        held = await self._sessions.acquire(user_id, need, deadline=deadline)
        try:
            return await self._transport.send(request, held.credential, deadline=deadline, user_id=user_id)
        except Unauthorized:
            self._sessions.drop(held)
        # Nothing that was minted before the refusal: what made this token void may have made the others so.
        held = await self._sessions.acquire(user_id, need, deadline=deadline, newer_than=held.serial)
        try:
            return await self._transport.send(request, held.credential, deadline=deadline, user_id=user_id)
        except Unauthorized:
            self._sessions.drop(held)
            raise
