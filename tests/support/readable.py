"""Wait until a descriptor can be read. `select.select` takes none above 1023, which a long run of tests can have."""

from __future__ import annotations

import selectors
from typing import IO


def is_readable(source: int | IO[bytes], seconds: float) -> bool:
    """Return whether there is something to read, or its end, within this time."""
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        return bool(selector.select(seconds))
