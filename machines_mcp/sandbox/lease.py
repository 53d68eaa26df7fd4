"""A lease: the process runs while its stdin is open or there is a connection to the lease port.

The operating system closes both when a holder dies for any reason, so no holder can leave the sandbox running.
"""

from __future__ import annotations

import os
import secrets
import selectors
import socket
import threading
from collections.abc import Callable
from typing import Final

# If stdin is no lease (/dev/null), how long to wait for the first connection.
_FIRST_HOLDER_SECONDS: Final = 5.0


class Lease:
    """Watches the holders on its own thread and calls `expire` there, once, when the last holder is gone.

    A holder is a socket that ends with its owner. Stdin may not be pollable, so a second thread reads it. At its end,
    that thread closes one end of a socket pair; the other end is the holder. Without `stdin`, it is not read.
    """

    def __init__(self, expire: Callable[[], None], *, stdin: bool = True) -> None:
        self._expire = expire
        self._stdin = stdin
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._holders: set[socket.socket] = set()
        # The first line on each connection. It shows a holder that the port still belongs to this process.
        self.instance: Final = secrets.token_hex(16)
        self.port: Final[int] = self._listener.getsockname()[1]

    def start(self) -> None:
        """Start watching. Only the end of the process stops this."""
        if self._stdin and not _stdin_is_null():
            ours, theirs = socket.socketpair()
            self._hold(ours)
            threading.Thread(target=_read_stdin_to_its_end, args=(theirs,), daemon=True).start()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        if not self._holders:
            self._selector.select(_FIRST_HOLDER_SECONDS)
            self._accept()
        while self._holders:
            for key, _ in self._selector.select():
                if isinstance(key.fileobj, socket.socket) and key.fileobj in self._holders:
                    self._read(key.fileobj)
            # Accept even without an event, so that a connection made before the last holder left is not missed.
            self._accept()
        self._selector.close()
        self._listener.close()
        self._expire()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # No connection is waiting, or it is already closed.
            connection.setblocking(False)
            self._hold(connection)
            try:
                connection.send(f"{self.instance}\n".encode())
            except OSError:
                self._let_go(connection)

    def _read(self, holder: socket.socket) -> None:
        try:
            at_end = not holder.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            at_end = True
        if at_end:
            self._let_go(holder)

    def _hold(self, holder: socket.socket) -> None:
        self._holders.add(holder)
        self._selector.register(holder, selectors.EVENT_READ)

    def _let_go(self, holder: socket.socket) -> None:
        self._holders.discard(holder)
        self._selector.unregister(holder)
        holder.close()


def _read_stdin_to_its_end(holder: socket.socket) -> None:
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass
    finally:
        holder.close()


def _stdin_is_null() -> bool:
    """Return whether stdin is the null device or closed: at its end, although no holder has left."""
    try:
        return os.path.samestat(os.fstat(0), os.stat(os.devnull))
    except OSError:
        return True
