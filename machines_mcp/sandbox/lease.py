"""A lease: the process lives while its stdin is open or somebody holds a connection to the lease port.

The operating system closes both when a holder dies, however it dies, so no holder can leave the sandbox behind.
"""

from __future__ import annotations

import os
import secrets
import selectors
import socket
import threading
from collections.abc import Callable
from typing import Final

# How long a process whose stdin was never a lease (/dev/null) waits for its first connection.
_FIRST_HOLDER_SECONDS: Final = 5.0


class Lease:
    """Watches the holders on a thread of its own, and calls `expire` once, from there, when the last one is gone.

    A holder is a socket that ends when its owner does. Stdin, which may be something that can't be polled, is one too:
    a second thread reads it, and closes the other end of a pair when stdin is at its end.
    """

    def __init__(self, expire: Callable[[], None]) -> None:
        self._expire = expire
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._holders: set[socket.socket] = set()
        # The first line on each connection: by it a holder knows that the port is still this process's.
        self.instance: Final = secrets.token_hex(16)
        self.port: Final[int] = self._listener.getsockname()[1]

    def start(self) -> None:
        """Begin to watch. Nothing ends this but the end of the process, which closes everything at once."""
        if not _stdin_is_null():
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
            # Also without being told to: whoever has connected before the last holder left must not be overlooked.
            self._accept()
        self._listener.close()
        self._expire()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # None is waiting, or it is gone again already.
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
    """Whether stdin is the null device (or closed): at its end, yet nobody has let go of it."""
    try:
        return os.path.samestat(os.fstat(0), os.stat(os.devnull))
    except OSError:
        return True
