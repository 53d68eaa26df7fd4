"""A server under test, and the fork server that starts it.

The server is the product's own `serve` in a separate process. The test installs a hook at the failpoints
(`storage/failpoints.py`). The hook records each failpoint and kills the process at the chosen one. The product has no
switch for tests.

`python -m tests.crashes.child FD` is the fork server. It imports what a server imports, and forks a server per order
received on the socket. The order comes with descriptors for stdin, stdout, stderr and the failpoint file. A server then
starts without a second of imports. With an order as its argument, the process is that server.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NoReturn

from machines_mcp.storage import failpoints

if TYPE_CHECKING:
    from machines_mcp.storage.journal import CallContext, Outcome
    from machines_mcp.storage.journal_entry import PendingMutation

# stdin, stdout and stderr, then the file for passed failpoints.
TRACE = 3
FREE = 128
MAX_BYTES = 64 * 1024
LOADED = (
    *(
        "machines_mcp.cli.main",
        "machines_mcp.cli.commands.run",
        "machines_mcp.server.log_config",
        "machines_mcp.server.stdio",
    ),
    *(
        "machines_mcp.server.desk",
        "machines_mcp.desk.app",
        "machines_mcp.server.card_reveals",
        "machines_mcp.protocol.stdio",
    ),
    *(
        "machines_mcp.permissions.pending",
        "machines_mcp.permissions.policy_loader",
        "machines_mcp.permissions.daily_totals",
    ),
    *("machines_mcp.permissions.factory", "machines_mcp.protocol.reconciliation", "machines_mcp.partner.client"),
    *("machines_mcp.partner.transport", "machines_mcp.tools.catalog", "machines_mcp.tools.resources"),
    *("machines_mcp.tools.services", "machines_mcp.tools.error_mapping", "sqlite3", "httpx", "httpcore"),
    *("machines_mcp.cli.root", "anyio._backends._asyncio"),
    *("cryptography.hazmat.primitives.ciphers.aead", "uvicorn.protocols.http.h11_impl", "uvicorn.lifespan.off"),
)


@dataclass(frozen=True)
class StartOrder:
    """How to start a server: its environment, and the failpoint whose `nth` pass kills it, if any.

    `fresh` starts a new interpreter, as a client does, instead of only forking. `journal` False disables the journal.
    """

    env: dict[str, str]
    point: str | None = None
    nth: int = 1
    fresh: bool = False
    journal: bool = True

    def line(self) -> str:
        """Encode the order as JSON."""
        return json.dumps(asdict(self))


def serve(order: StartOrder) -> NoReturn:
    """Become the server."""
    for name in [name for name in os.environ if name.startswith("MACHINES_")]:
        del os.environ[name]
    os.environ.update(order.env)
    # The server's own children must not inherit it.
    os.set_inheritable(TRACE, False)
    failpoints.hook = _hook(order)
    if not order.journal:
        _disable_journal()
    from machines_mcp.cli.main import main

    main(["serve"])
    os._exit(0)


def _hook(order: StartOrder) -> Callable[[str], None]:
    passed = 0

    def told(name: str) -> None:
        nonlocal passed
        # A short write to a file opened for appending is atomic, even if the process is killed next.
        os.write(TRACE, f"{name}\n".encode())
        if name == order.point:
            passed += 1
            if passed >= order.nth:
                os.kill(os.getpid(), signal.SIGKILL)

    return told


def _disable_journal() -> None:
    """Disable the journal, so that the server records nothing before it sends and cannot reconcile after a crash."""
    from machines_mcp.storage.journal import Journal

    async def begin(self: Journal, mutation: PendingMutation, about: CallContext | None = None) -> str:
        failpoints.failpoint("journal.begun")
        return ""

    def sent(self: Journal, entry_id: str) -> None:
        failpoints.failpoint("request.sent")

    async def end(
        self: Journal, entry_id: str, outcome: Outcome, *, reference: str | None = None, status: int | None = None
    ) -> None:
        failpoints.failpoint("journal.ended")

    # Only `method-assign` is ignored: mypy must still compare the signatures.
    Journal.begin, Journal.sent, Journal.end = begin, sent, end  # type: ignore[method-assign]


def fork_server(channel: socket.socket) -> None:
    """Fork a server per order until the peer closes the socket. Reply with each server's process id."""
    _import_all()
    # Exit statuses are not collected. The client notices a kill by the end of stdout.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel.sendall(b"ready\n")
    while True:
        line, descriptors, _, _ = socket.recv_fds(channel, MAX_BYTES, TRACE + 1)
        while line and not line.endswith(b"\n"):
            line += channel.recv(MAX_BYTES)
        if not line:
            return
        pid = os.fork()
        if pid == 0:
            channel.close()
            _become(descriptors)
            order = StartOrder(**json.loads(line))
            if order.fresh:
                os.execv(sys.executable, [sys.executable, "-m", "tests.crashes.child", order.line()])  # noqa: S606
            serve(order)
        for descriptor in descriptors:
            os.close(descriptor)
        channel.sendall(f"{pid}\n".encode())


def _become(descriptors: list[int]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Move the received descriptors first, because their numbers may be among the target numbers.
    for number, descriptor in enumerate([fcntl.fcntl(each, fcntl.F_DUPFD, FREE) for each in descriptors]):
        os.dup2(descriptor, number)
    os.closerange(TRACE + 1, 2 * FREE)


def _import_all() -> None:
    """Import what a server eventually imports. None of it starts a thread or keeps a file open."""
    for name in LOADED:
        importlib.import_module(name)
    # Frozen objects are not touched by the collector, so their pages stay shared.
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    if sys.argv[1].isdigit():
        fork_server(socket.socket(fileno=int(sys.argv[1])))
    else:
        serve(StartOrder(**json.loads(sys.argv[1])))
