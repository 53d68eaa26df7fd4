"""Measure how soon a waiting call stops when the client cancels it, from the upstream's sockets.

A cancelled call sends no response that could be timed. So this upstream holds the second poll of each wait open, and
its connection ends when the server drops the poll.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.measure import Samples
from benchmarks.wire import BenchmarkError, Command, Era, Wire

CANCELS_A_ROUND = 10
WAIT_SECONDS = 50
PATIENCE_SECONDS = 30.0
# Four times the poll interval that the upstream requests.
QUIET_SECONDS = 1.0

_SESSION = {"sessionToken": "a.b.c", "sessionId": "session-1", "scopes": []}
_PENDING = {"status": "pending", "isTermsOfServiceAccepted": False}


class HoldingUpstream:
    """A Partner API on loopback with sessions and one pending identity check; a context manager.

    It holds every second poll of that check. `held` gets the time of the poll, and `released` the time at which its
    connection ended (`time.perf_counter`). `polls` counts all polls.
    """

    base_url: str

    def __init__(self) -> None:
        self.held: queue.Queue[float] = queue.Queue()
        self.released: queue.Queue[float] = queue.Queue()
        self.polls = 0
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer({**_SESSION, "userId": asked["userId"], "expiresAt": time.time() + 900})

            def do_GET(self) -> None:
                upstream.polls += 1
                if upstream.polls % 2:
                    self._answer(_PENDING)
                else:
                    upstream._hold(self)

            def _answer(self, data: dict[str, object]) -> None:
                envelope = {"ok": True, "data": data, "summary": "", "errors": [], "next": {"pollAfterMs": 250}}
                body = json.dumps(envelope).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/partner/v1"

    def __enter__(self) -> HoldingUpstream:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _hold(self, handler: BaseHTTPRequestHandler) -> None:
        self.held.put(time.perf_counter())
        with suppress(ConnectionError):
            handler.connection.recv(1)
        self.released.put(time.perf_counter())
        handler.close_connection = True


def measure_cancellation(server: Command, upstream: HoldingUpstream, era: Era, runs: int) -> Samples:
    """Measure milliseconds from the client's `notifications/cancelled` to the end of the poll in progress."""
    samples = Samples()
    with Wire(server, era) as wire:
        wire.greet()
        for counted in [False, *[True] * runs]:
            taken = [_cancel(wire, upstream) for _ in range(CANCELS_A_ROUND)]
            if counted:
                samples.rounds.append(taken)
        # Cancelled calls must not poll again.
        time.sleep(QUIET_SECONDS)
        if upstream.polls != 2 * CANCELS_A_ROUND * (runs + 1):
            raise BenchmarkError(f"{server.name} kept polling after it was cancelled")
    return samples


def _cancel(wire: Wire, upstream: HoldingUpstream) -> float:
    arguments = {"name": "get_kyc_status", "arguments": {"wait_seconds": WAIT_SECONDS}}
    request = wire.send("tools/call", arguments)
    try:
        upstream.held.get(timeout=PATIENCE_SECONDS)
        start = time.perf_counter()
        wire.notify("notifications/cancelled", {"requestId": request})
        return (upstream.released.get(timeout=PATIENCE_SECONDS) - start) * 1000
    except queue.Empty:
        raise BenchmarkError("a call did not poll, or did not stop when it was cancelled") from None
