"""Detect which server processes are alive: each locks its own file, and the system releases the lock when it exits.

Process ids would not work: they are reused, and mean nothing in another container.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from machines_mcp.storage.files import make_file
from machines_mcp.storage.private_folder import private_folder

UNOWNED = ""
"""The owner of a call that its process gave up."""
_ID = re.compile(r"[0-9a-f]{32}")


def is_process_id(text: str) -> bool:
    """Return whether this has the form of a process's id."""
    return _ID.fullmatch(text) is not None


class ProcessLocks:
    """The live processes of one state folder. Nothing touches the disk before the first call.

    Methods block briefly on the disk: don't call them on the event loop. All except `close` raise `OSError` if the
    folder can't be used.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "owners"
        self._lock = threading.Lock()
        self._own: tuple[str, int] | None = None

    def own(self) -> str:
        """Return the id of this process. The first call creates it and removes the files of dead processes."""
        with self._lock:
            if self._own is None:
                while self._own is None:
                    self._own = self._enter()
                for path in self._folder.iterdir():
                    self._lives(path.name)
            return self._own[0]

    def is_own(self, owner: str) -> bool:
        """Return whether this is the id of this process."""
        return self._own is not None and owner == self._own[0]

    def alive(self, owner: str) -> bool:
        """Return whether the process with this id is alive."""
        with self._lock:
            return self._lives(owner)

    def close(self) -> None:
        """Release the id of this process."""
        with self._lock:
            if self._own is not None:
                owner, held = self._own
                with suppress(OSError):
                    os.unlink(self._folder / owner)
                os.close(held)
                self._own = None

    def _lives(self, owner: str) -> bool:
        if self.is_own(owner):
            return True
        if not is_process_id(owner):
            return False
        try:
            held = os.open(self._folder / owner, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            if not _free(held):
                return True
            # Ids are never reused, so the file can go. Windows does not remove an open file.
            with suppress(PermissionError, FileNotFoundError):
                os.unlink(self._folder / owner)
            return False
        finally:
            os.close(held)

    def _enter(self) -> tuple[str, int] | None:
        """Create an id and lock its file. Returns None if a cleanup removed the file before it was locked."""
        private_folder(self._folder)
        owner = secrets.token_hex(16)
        path = self._folder / owner
        held = make_file(path, os.O_RDWR)
        try:
            if try_lock(held) and path.exists() and os.path.samestat(os.fstat(held), path.stat()):
                return owner, held
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(held)
            raise
        os.close(held)
        return None


if sys.platform == "win32":
    import msvcrt

    def try_lock(descriptor: int) -> bool:
        """Lock this open file without waiting. Returns False if another open file holds the lock."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _free(descriptor: int) -> bool:
        # Windows has no shared locks here, so another process's check may hold the lock for a moment.
        for _ in range(5):
            if try_lock(descriptor):
                return True
            time.sleep(0.01)
        return False

else:
    import fcntl

    # `flock` locks belong to an open file. `lockf` locks belong to the process and end when it closes any descriptor.
    def _lock(descriptor: int, how: int) -> bool:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def try_lock(descriptor: int) -> bool:
        """Lock this open file without waiting. Returns False if another open file holds the lock."""
        return _lock(descriptor, fcntl.LOCK_EX)

    def _free(descriptor: int) -> bool:
        # Shared, so that concurrent checks do not mistake each other for the owner.
        return _lock(descriptor, fcntl.LOCK_SH)
