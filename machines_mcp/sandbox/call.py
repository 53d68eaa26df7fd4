"""The request, as handlers receive it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from machines_mcp.sandbox.clock import iso
from machines_mcp.sandbox.envelope import not_found
from machines_mcp.sandbox.fields import Fields, parse_body, parse_query
from machines_mcp.sandbox.state import State
from machines_mcp.sandbox.user import User


@dataclass
class Incoming:
    """A raw request: header names in lower case, the body unparsed."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    raw: bytes


@dataclass
class Call:
    """A request that passed its preconditions.

    Body and query are parsed on demand, so that a handler can return 404 for a missing card before 400 for a bad body.
    """

    state: State
    incoming: Incoming
    origin: str
    now: float
    bearer: User | None
    _body: Fields | None = field(default=None, repr=False)

    @property
    def user(self) -> User:
        """The session's user."""
        if self.bearer is None:
            raise LookupError("this operation does not use a session")
        return self.bearer

    def body(self) -> Fields:
        """Return the request's JSON object (400 if it is not one); `{}` without a body."""
        if self._body is None:
            self._body = parse_body(self.incoming.raw)
        return self._body

    def query(self) -> Fields:
        return parse_query(self.incoming.query)

    def named(self, name: str) -> str:
        """Return a path parameter; 404 below 8 characters, the minimum length of every id."""
        value = self.incoming.path[name]
        if len(value) < 8:
            raise not_found()
        return value

    def iso(self, moment: float) -> str:
        return iso(moment)
