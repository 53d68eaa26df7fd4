"""`python -m machines_mcp.sandbox`, the same as `machines-mcp sandbox`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Run the sandbox; the exit code is 0 after a clean end, 1 when it can't start, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(prog="machines-mcp sandbox", description="A simulated Partner API on loopback.")
    parser.add_argument("--port", type=_port, required=True, help="port on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--db", type=Path, help="SQLite file that keeps the state; without it the state is thrown away")
    parser.add_argument("--reset", action="store_true", help="empty the file first")
    parser.add_argument("--leased", action="store_true", help="end when stdin and every lease connection are closed")
    given = parser.parse_args(argv)

    # Only now: a mistyped option should not wait for a web server to load.
    import sqlite3

    from machines_mcp.sandbox.process import Options, run

    try:
        return run(Options(given.port, given.db, given.reset, given.leased))
    except (OSError, sqlite3.DatabaseError) as problem:
        print(f"the sandbox can't start: {problem}", file=sys.stderr)
        return 1


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError("not a port")
    return port


if __name__ == "__main__":
    sys.exit(main())
