"""Serve the desk under an unguessable path, so that other users of this machine reach no page of it."""

from __future__ import annotations

import hmac

from machines_mcp.desk.peer_check import CHALLENGE, PROOF_PATH, answer_challenge
from machines_mcp.desk.request_guard import HEADERS
from machines_mcp.web.asgi import Application, Header, Receive, Scope, Send, header_values, send_response
from machines_mcp.web.browser_security import constant_time_equal

LENGTH = 32
# No digits, because the output filter may take a run of digits for a card number.
_LETTERS = str.maketrans("0123456789", "ghijklmnop")
_CLOSE: Header = (b"connection", b"close")
_NO_PAGE = b"There is no page at this address.\n"
_TEXT: Header = (b"content-type", b"text/plain; charset=utf-8")


def secret_path(key: bytes) -> str:
    """Return the path of every desk with this key: a slash and 32 letters, of which 128 bits can't be guessed."""
    return "/" + hmac.digest(key, b"desk path", "sha256").hex()[:LENGTH].translate(_LETTERS)


class SecretPath:
    """Passes on requests below the secret path, without it. Any other request gets 404 before its body is read.

    The exception is another server of this state folder, which proves that it knows the key.
    """

    def __init__(self, app: Application, key: bytes, fingerprint: str, port: int) -> None:
        self._app = app
        self._key = key
        self._fingerprint = fingerprint
        self._port = port
        self._path = secret_path(key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return
        if header_values(scope, b"service-worker"):
            # Nothing here is one. A worker would outlive the desk, and answer for whoever has the port next.
            await send_response(send, 404, [_TEXT, *HEADERS, _CLOSE], _NO_PAGE)
            return
        path = str(scope["path"])
        inner = path[len(self._path) :]
        if constant_time_equal(path[: len(self._path)], self._path) and inner[:1] in ("", "/"):
            if inner:
                await self._app(dict(scope) | {"path": inner}, receive, send)
            else:
                # The session's cookie is for the path with the slash.
                to_home = (b"location", f"{self._path}/".encode())
                await send_response(send, 303, [to_home, _CLOSE, *HEADERS], b"")
            return
        proof = self._proof(scope)
        if proof is not None:
            await send_response(send, 200, [_TEXT, *HEADERS], proof.encode())
            return
        # The body is unread, so the connection can't be used again.
        await send_response(send, 404, [_TEXT, *HEADERS, _CLOSE], _NO_PAGE)

    def _proof(self, scope: Scope) -> str | None:
        challenges = header_values(scope, CHALLENGE.encode())
        if (scope["method"], scope["path"], len(challenges)) != ("GET", PROOF_PATH, 1):
            return None
        return answer_challenge(self._key, self._fingerprint, self._port, challenges[0])
