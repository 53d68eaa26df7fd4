"""Start the vault process. Importing takes nearly all of its time, so `main` first makes that faster."""

from __future__ import annotations

import gc
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Serve one reveal and exit."""
    # The process is too short-lived to need garbage collection.
    gc.disable()
    # If httpx finds click, it also loads its command line and a colour library.
    sys.modules["click"] = None  # type: ignore[assignment]
    from machines_mcp.vault.worker import serve

    serve()


if __name__ == "__main__":
    main()
