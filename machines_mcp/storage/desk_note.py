"""The note of a state folder's running desk, by which servers and commands find it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

ADDRESS_FILE = "desk.json"


def noted_port(folder: Path, name: Literal["port", "taken"]) -> int | None:
    """Return the desk's port, or the port that another program took from it; None if the note has none."""
    try:
        return int(json.loads((folder / ADDRESS_FILE).read_text(encoding="ascii"))[name])
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def port_taken(port: int) -> str:
    """Return the sentence about a desk that had to move."""
    return (
        f"Another program has the desk's earlier port {port}, so the desk has a new address. Don't type the passphrase"
        " at the old one."
    )
