"""Desk sessions, kept in memory, and the tokens that bind a form to its session and path.

A session allows reading, refusing and freezing. Each approval asks for the passphrase again. Cookies are not bound to a
port. The secret path in the cookie keeps a browser from sending it to other servers on 127.0.0.1.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from machines_mcp.web.browser_security import constant_time_equal

IDLE_SECONDS = 30 * 60
MAX_SESSIONS = 32


@dataclass(slots=True)
class Session:
    """One signed-in browser. `notice` is a sentence of ours that the next page shows once."""

    token: str
    last_used: float
    notice: str = ""

    def leave_notice(self, notice: str) -> None:
        """Have the next page show this sentence."""
        self.notice = notice

    def take_notice(self) -> str:
        """Return the pending sentence and clear it."""
        notice, self.notice = self.notice, ""
        return notice


class Sessions:
    """The sessions of one desk. With `shared` (simulator), every visitor shares one without signing in."""

    def __init__(self, port: int, base_path: str, *, shared: bool, clock: Callable[[], float] = time.monotonic) -> None:
        # Without the port in the name, two desks on one machine would overwrite each other's cookie.
        self.cookie = f"machines_desk_{port}"
        self._path = f"{base_path}/"
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._by_hash: dict[str, Session] = {}
        self._shared = Session(secrets.token_urlsafe(32), clock()) if shared else None

    def find(self, cookies: Mapping[str, str], *, use: bool = True) -> Session | None:
        """Return the session of this cookie if it was used in the last 30 minutes. `use`: a person uses it now."""
        token = cookies.get(self.cookie, "")
        if self._shared is not None:
            return self._shared if constant_time_equal(token, self._shared.token) else None
        self._drop_idle()
        # Look up the hash, so that the time taken reveals nothing about the token.
        session = self._by_hash.get(_hash(token))
        if session is not None and use:
            session.last_used = self._clock()
        return session

    def has_cookie(self, cookies: Mapping[str, str]) -> bool:
        """Return whether the browser has had a session at this desk."""
        return self.cookie in cookies

    def shared_session(self) -> Session | None:
        """Return the session for a visitor without a cookie, or None if they must sign in."""
        return self._shared

    def start(self) -> Session:
        """Start a session. At the limit, the session that was idle longest is dropped."""
        self._drop_idle()
        while len(self._by_hash) >= MAX_SESSIONS:
            del self._by_hash[min(self._by_hash, key=lambda name: self._by_hash[name].last_used)]
        session = Session(secrets.token_urlsafe(32), self._clock())
        self._by_hash[_hash(session.token)] = session
        return session

    def end(self, session: Session) -> None:
        """End a session."""
        self._by_hash.pop(_hash(session.token), None)

    def form_token(self, session: Session | None, path: str) -> str:
        """Return the token that a form posted to `path` must contain."""
        owner = session.token if session is not None else ""
        return hmac.digest(self._key, f"{owner}\0{path}".encode(), "sha256").hex()

    def is_form_token(self, session: Session | None, path: str, token: str) -> bool:
        """Return whether this desk issued the token for this session and path."""
        return constant_time_equal(token, self.form_token(session, path))

    def cookie_header(self, session: Session | None) -> str:
        """Return the `Set-Cookie` value for a session; None deletes the cookie."""
        if session is None:
            return f"{self.cookie}=; Path={self._path}; HttpOnly; SameSite=Strict; Max-Age=0"
        return f"{self.cookie}={session.token}; Path={self._path}; HttpOnly; SameSite=Strict"

    def _drop_idle(self) -> None:
        oldest = self._clock() - IDLE_SECONDS
        for name in [name for name, session in self._by_hash.items() if session.last_used <= oldest]:
            del self._by_hash[name]


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
