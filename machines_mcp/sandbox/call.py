"""One admitted request, as the handlers see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from machines_mcp.sandbox.clock import iso
from machines_mcp.sandbox.envelope import not_found
from machines_mcp.sandbox.fields import Fields, parse_body, parse_query
from machines_mcp.sandbox.state import State
from machines_mcp.sandbox.users import User


@dataclass
class Incoming:
    """A request as it came: header names in lower case, the body unread."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    raw: bytes


@dataclass
class Call:
    """A request that has passed the gates of `gates.py`.

    The body and the query are read only when a handler asks for them, so a handler can first say that a card is not
    there: the order is "not found" before "bad request".
    """

    state: State
    incoming: Incoming
    origin: str
    now: float
    bearer: User | None
    _body: Fields | None = field(default=None, repr=False)

    @property
    def user(self) -> User:
        """The user of the session."""
        if self.bearer is None:
            raise LookupError("this operation is not made by a session")
        return self.bearer

    def body(self) -> Fields:
        """The JSON object of the request (400 when it is none), `{}` without a body."""
        if self._body is None:
            self._body = parse_body(self.incoming.raw)
        return self._body

    def query(self) -> Fields:
        return parse_query(self.incoming.query)

    def named(self, name: str) -> str:
        """A part of the path. Ids have at least 8 characters, so a shorter one is certainly not there."""
        value = self.incoming.path[name]
        if len(value) < 8:
            raise not_found()
        return value

    def iso(self, moment: float) -> str:
        return iso(moment)
