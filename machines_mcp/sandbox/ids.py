"""Random ids of the simulator's resources."""

from __future__ import annotations

import re
import uuid

_LONG_ROW = re.compile("[0-9]{13}")


def new_id() -> str:
    """Return a random UUID without thirteen digits in a row: clients may refuse one that could be a card number."""
    while _LONG_ROW.search((found := str(uuid.uuid4())).replace("-", "")):
        pass
    return found
