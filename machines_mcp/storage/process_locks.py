"""Which server processes live: each holds a lock on a file of its own, which the system takes away with the process.

A process id would not do: it is given again, and means nothing in another container.
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

from machines_mcp.storage.database import private_folder

_ID = re.compile(r"[0-9a-f]{32}")


class ProcessLocks:
    """The living of one state folder. Nothing touches the disk before the first question.

    Its methods do, briefly: call them where a disk may be waited for. All raise `OSError` where the folder can't be
    used, but `close`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "owners"
        self._lock = threading.Lock()
        self._own: tuple[str, int] | None = None

    def own(self) -> str:
        """The id of this process, under which it lives from now on. The first time, what the dead left is removed."""
        with self._lock:
            if self._own is None:
                while self._own is None:
                    self._own = self._enter()
                for path in self._folder.iterdir():
                    self._lives(path.name)
            return self._own[0]

    def is_own(self, owner: str) -> bool:
        """Whether it is this process."""
        return self._own is not None and owner == self._own[0]

    def alive(self, owner: str) -> bool:
        """Whether the process with this id lives."""
        with self._lock:
            return self._lives(owner)

    def close(self) -> None:
        """Live no longer under this id."""
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
        if not _ID.fullmatch(owner):
            return False
        try:
            held = os.open(self._folder / owner, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            if not _free(held):
                return True
            # Ids are never given again, so nobody will miss it. Windows keeps a file that is open.
            with suppress(PermissionError, FileNotFoundError):
                os.unlink(self._folder / owner)
            return False
        finally:
            os.close(held)

    def _enter(self) -> tuple[str, int] | None:
        """An id and its lock; None where a sweep took the file for that of a dead one, before it was locked."""
        private_folder(self._folder)
        owner = secrets.token_hex(16)
        path = self._folder / owner
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if _try_lock(held) and path.exists() and os.path.samestat(os.fstat(held), path.stat()):
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

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _free(descriptor: int) -> bool:
        # There are no shared locks here: what stands in the way for a moment may be another who looks.
        for _ in range(5):
            if _try_lock(descriptor):
                return True
            time.sleep(0.01)
        return False

else:
    import fcntl

    # Locks of an open file, not of a process as `lockf` makes them: those end as soon as any look at the file does.
    def _lock(descriptor: int, how: int) -> bool:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _try_lock(descriptor: int) -> bool:
        return _lock(descriptor, fcntl.LOCK_EX)

    def _free(descriptor: int) -> bool:
        # Shared, so that two who look at once do not take each other for the owner.
        return _lock(descriptor, fcntl.LOCK_SH)
