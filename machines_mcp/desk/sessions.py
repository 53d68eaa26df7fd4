"""Who reads at the desk: sessions in memory, and the tokens that bind a form to its session and its address.

A session only reads. Every decision asks for the passphrase again, so that what a cookie is worth is a look. Cookies
know no ports: what else serves on this address is sent it, too, by a browser that goes there.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

IDLE_SECONDS = 30 * 60
MOST_SESSIONS = 32


@dataclass(slots=True)
class Session:
    """One browser that was let in. `said` is what the next page tells once, a sentence of ours."""

    token: str
    seen: float
    said: str = ""

    def take_said(self) -> str:
        """What was to be told; it is told once."""
        said, self.said = self.said, ""
        return said


class Sessions:
    """The sessions of one desk. `for_all`: everybody gets the same one without being asked, where nothing is real."""

    def __init__(self, port: int, *, for_all: bool, clock: Callable[[], float] = time.monotonic) -> None:
        # Two desks on one machine share their cookies' names otherwise, and each would sign the other's person out.
        self.cookie = f"machines_desk_{port}"
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._open: dict[str, Session] = {}
        self._common = Session(secrets.token_urlsafe(32), clock()) if for_all else None

    def find(self, cookies: Mapping[str, str]) -> Session | None:
        """The session of this cookie, if it was used within the last half hour."""
        token = cookies.get(self.cookie, "")
        if self._common is not None:
            return self._common if _same(token, self._common.token) else None
        self._forget_idle()
        # By its hash, so that how long the look takes says nothing about the token.
        session = self._open.get(_hash(token))
        if session is not None:
            session.seen = self._clock()
        return session

    def visitor(self) -> Session | None:
        """The session of whoever comes without one; None where they must sign in."""
        return self._common

    def begin(self) -> Session:
        """A new session; the one that was idle longest makes room."""
        self._forget_idle()
        while len(self._open) >= MOST_SESSIONS:
            del self._open[min(self._open, key=lambda name: self._open[name].seen)]
        session = Session(secrets.token_urlsafe(32), self._clock())
        self._open[_hash(session.token)] = session
        return session

    def end(self, session: Session) -> None:
        """Sign out."""
        self._open.pop(_hash(session.token), None)

    def form_token(self, session: Session | None, path: str) -> str:
        """What a form that is sent to `path` must bring along."""
        owner = session.token if session is not None else ""
        return hmac.digest(self._key, f"{owner}\0{path}".encode(), "sha256").hex()

    def is_form_token(self, session: Session | None, path: str, token: str) -> bool:
        """Whether the form was drawn by this desk, for this session and this address."""
        return _same(token, self.form_token(session, path))

    def cookie_header(self, session: Session | None) -> str:
        """`Set-Cookie` for this session; None takes the cookie back."""
        if session is None:
            return f"{self.cookie}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0"
        return f"{self.cookie}={session.token}; Path=/; HttpOnly; SameSite=Strict"

    def _forget_idle(self) -> None:
        oldest = self._clock() - IDLE_SECONDS
        for name in [name for name, session in self._open.items() if session.seen <= oldest]:
            del self._open[name]


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _same(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), known.encode())
