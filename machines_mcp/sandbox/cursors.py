"""Pagination cursors for lists sorted newest first. Clients must not interpret them."""

from __future__ import annotations

import base64
import binascii
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from machines_mcp.sandbox.fields import Fields


def write_cursor(moment: float, name: str) -> str:
    """Return the cursor that follows the item with this time (unix seconds) and name."""
    return base64.urlsafe_b64encode(f"{moment!r} {name}".encode()).decode().rstrip("=")


def read_cursor(fields: Fields) -> tuple[float, str]:
    """Return time and name from the field `cursor`.

    Raises:
        Refusal: 400, if no response can have contained it.
    """
    text = fields.text("cursor")
    try:
        written = base64.b64decode(text + "=" * (-len(text) % 4), "-_", validate=True).decode()
        moment, _, name = written.partition(" ")
        if name and math.isfinite(float(moment)):
            return float(moment), name
    except (binascii.Error, ValueError):
        pass
    fields.refuse("cursor", "must be a cursor from an earlier response")
