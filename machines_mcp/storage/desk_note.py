"""The notes about a state folder's desk: where it runs, and which processes gave its address to somebody."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Literal

from machines_mcp.storage.files import write_atomically
from machines_mcp.storage.private_folder import private_folder
from machines_mcp.storage.process_locks import ProcessLocks, is_process_id

ADDRESS_FILE = "desk.json"
GIVEN_FOLDER = "desk"


def noted_port(folder: Path, name: Literal["port", "taken"]) -> int | None:
    """Return the desk's port, or the port that another program took from it; None if the note has none."""
    try:
        return int(json.loads((folder / ADDRESS_FILE).read_text(encoding="ascii"))[name])
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


class GivenPorts:
    """The desk's ports that the living processes of a state folder gave to somebody, by the desk's fingerprint.

    Methods block briefly on the disk: don't call them on the event loop. They raise `OSError` if the folder can't be
    used.
    """

    def __init__(self, folder: Path, locks: ProcessLocks, fingerprint: str) -> None:
        self._folder = folder / GIVEN_FOLDER
        self._locks = locks
        self._fingerprint = fingerprint

    def note(self, port: int) -> None:
        """Note that this process gave the port to somebody."""
        private_folder(self._folder)
        content = json.dumps({"port": port, "fingerprint": self._fingerprint})
        write_atomically(self._folder / self._locks.own(), content.encode("ascii"))

    def find(self) -> int | None:
        """Return a port that a living process gave, or None. Removes the notes of dead processes."""
        if not self._folder.is_dir():
            return None
        for path in sorted(self._folder.iterdir()):
            if not is_process_id(path.name):
                continue  # it is being written
            if not self._locks.alive(path.name):
                path.unlink(missing_ok=True)
            elif (port := self._read(path)) is not None:
                return port
        return None

    def forget(self) -> None:
        """Remove the note of this process."""
        (self._folder / self._locks.own()).unlink(missing_ok=True)

    def _read(self, path: Path) -> int | None:
        with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
            found = json.loads(path.read_text(encoding="ascii"))
            if found["fingerprint"] == self._fingerprint and type(found["port"]) is int:
                return int(found["port"])
        return None


def port_taken(port: int) -> str:
    """Return the sentence about a desk that had to move."""
    return (
        f"Another program has the desk's earlier port {port}, so the desk has a new address. Don't type the passphrase"
        " at the old one."
    )
