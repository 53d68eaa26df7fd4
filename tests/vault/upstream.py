"""A partner API of three endpoints with scripted responses, for cases the sandbox never produces."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.card_numbers import card_number
from tests.support.vault_cards import Sealed, new_key, seal

CARD_ID = "card-under-test"


class StubUpstream:
    """Responses are `data` objects by path, or `(status, body)`. Requests are kept as `(path, headers, body)`."""

    def __init__(self) -> None:
        self.key = new_key()
        self.number = card_number()
        self.code = "739"
        self.last4 = self.number[-4:]
        self.base_url = ""
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.answers: dict[str, dict[str, Any] | tuple[int, bytes]] = {
            "/sessions": {
                "sessionToken": "token-of-the-vault",
                "sessionId": "session-1",
                "userId": "user-1",
                "expiresAt": (datetime.now(UTC) + timedelta(seconds=60)).isoformat(timespec="seconds"),
                "scopes": ["cards.secrets.read"],
            },
            "/cards/secrets/session": {"sessionId": "secrets-session-1", "secretKey": self.key},
            f"/cards/{CARD_ID}/secrets": {
                **self.sealed(self.number, self.code),
                "expirationMonth": 12,
                "expirationYear": 2031,
                "last4": self.last4,
                "brand": "VISA",
                "keyId": "key-1",
            },
        }

    def sealed(self, number: str, code: str) -> dict[str, Any]:
        """Return both fields as the API sends them."""
        fields = {"encryptedPan": number, "encryptedCvc": code}
        return {name: as_json(seal(self.key, text.encode())) for name, text in fields.items()}

    def change(self, path: str, **data: Any) -> None:
        """Change fields of a response. None removes a field."""
        answer = self.answers[path]
        assert isinstance(answer, dict)
        answer.update(data)
        self.answers[path] = {name: value for name, value in answer.items() if value is not None}

    def change_secrets(self, **data: Any) -> None:
        self.change(f"/cards/{CARD_ID}/secrets", **data)


def as_json(field: Sealed) -> dict[str, str]:
    return {"data": field.data, "iv": field.iv}


@contextmanager
def serve(upstream: StubUpstream) -> Iterator[StubUpstream]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
            path = self.path.removeprefix("/partner/v1")
            upstream.seen.append((path, {name.lower(): value for name, value in self.headers.items()}, body))
            answer = upstream.answers[path]
            if isinstance(answer, dict):
                envelope = {"ok": True, "data": answer, "summary": "done", "errors": []}
                answer = 200, json.dumps(envelope).encode()
            status, content = answer
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        upstream.base_url = f"http://127.0.0.1:{server.server_port}/partner/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield upstream
        finally:
            server.shutdown()
            thread.join()
