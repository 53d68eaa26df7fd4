"""A server under test, and the process that such servers are forked from.

A server is the product's own `serve` in a process of its own. What is put into that process is a hook at the labelled
points (`storage/failpoints.py`): it writes down each point passed, and kills the process at the one it was told.
So no switch for tests is in the product.

`python -m tests.crashes.child FD` is the nursery: it has imported what a server imports, and forks one for each order
that comes through the socket, with the descriptors that come along as its stdin, stdout, stderr and the points' file.
A life then costs its calls and not a second of imports. With an order as its argument it is that server itself.
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
from typing import NoReturn

from machines_mcp.storage import failpoints

# stdin, stdout and stderr, then where the passed points are written.
TRACE = 3
FREE = 128
MOST_BYTES = 64 * 1024
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
class Order:
    """What a server is to be: its environment, and the point at whose passing number `nth` it dies, if any.

    `fresh`: it is begun by a new interpreter, as a client does it, and not by a fork alone. `journal` False takes the
    journal out of it.
    """

    env: dict[str, str]
    point: str | None = None
    nth: int = 1
    fresh: bool = False
    journal: bool = True

    def line(self) -> str:
        """The order as JSON."""
        return json.dumps(asdict(self))


def serve(order: Order) -> NoReturn:
    """Be that server."""
    for name in [name for name in os.environ if name.startswith("MACHINES_")]:
        del os.environ[name]
    os.environ.update(order.env)
    # Its own children shall not hold it.
    os.set_inheritable(TRACE, False)
    failpoints.hook = _hook(order)
    if not order.journal:
        _forget_everything()
    from machines_mcp.cli.main import main

    main(["serve"])
    os._exit(0)


def _hook(order: Order) -> Callable[[str], None]:
    passed = 0

    def told(name: str) -> None:
        nonlocal passed
        # One write of few bytes to a file opened for appending: whole or not there, whoever dies next.
        os.write(TRACE, f"{name}\n".encode())
        if name == order.point:
            passed += 1
            if passed >= order.nth:
                os.kill(os.getpid(), signal.SIGKILL)

    return told


def _forget_everything() -> None:
    """A server that writes nothing down before it sends, and so has nothing to look at after a crash."""
    from machines_mcp.storage.journal import Journal

    async def begin(journal: Journal, mutation: object) -> str:
        failpoints.failpoint("journal.begun")
        return ""

    def sent(journal: Journal, entry_id: str) -> None:
        failpoints.failpoint("request.sent")

    async def end(journal: Journal, entry_id: str, outcome: str, **more: object) -> None:
        failpoints.failpoint("journal.ended")

    Journal.begin, Journal.sent, Journal.end = begin, sent, end  # type: ignore[assignment,method-assign]


def nursery(channel: socket.socket) -> None:
    """Fork a server per order until the other side is gone. Answers each with the server's process id."""
    _import_all()
    # Nobody waits for the dead here; who ordered them sees the end of their stdout.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel.sendall(b"ready\n")
    while True:
        line, descriptors, _, _ = socket.recv_fds(channel, MOST_BYTES, TRACE + 1)
        while line and not line.endswith(b"\n"):
            line += channel.recv(MOST_BYTES)
        if not line:
            return
        pid = os.fork()
        if pid == 0:
            channel.close()
            _become(descriptors)
            order = Order(**json.loads(line))
            if order.fresh:
                os.execv(sys.executable, [sys.executable, "-m", "tests.crashes.child", order.line()])  # noqa: S606
            serve(order)
        for descriptor in descriptors:
            os.close(descriptor)
        channel.sendall(f"{pid}\n".encode())


def _become(descriptors: list[int]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Out of the way first: a descriptor that came may have the number that another one is to get.
    for number, descriptor in enumerate([fcntl.fcntl(each, fcntl.F_DUPFD, FREE) for each in descriptors]):
        os.dup2(descriptor, number)
    os.closerange(TRACE + 1, 2 * FREE)


def _import_all() -> None:
    """What a server loads sooner or later. None of it starts a thread or opens a file that is kept."""
    for name in LOADED:
        importlib.import_module(name)
    # What is never looked at again by the collector is not copied by its looking, either.
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    if sys.argv[1].isdigit():
        nursery(socket.socket(fileno=int(sys.argv[1])))
    else:
        serve(Order(**json.loads(sys.argv[1])))
