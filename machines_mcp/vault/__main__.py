"""The vault's process, as it is started. Loading is nearly all of its time, so that comes first."""

from __future__ import annotations

import gc
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Serve one reveal and end the process."""
    # Its life is too short for garbage to pile up.
    gc.disable()
    # Where httpx finds click it loads its own command line, and a library for colours with it.
    sys.modules["click"] = None  # type: ignore[assignment]
    from machines_mcp.vault.worker import serve

    serve()


if __name__ == "__main__":
    main()
