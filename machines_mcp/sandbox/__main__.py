"""`python -m machines_mcp.sandbox`, the same as `machines-mcp sandbox`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn


def main(argv: list[str] | None = None) -> int:
    """Run the sandbox; the exit code is 0 after a clean end, 1 when it can't start, 2 for wrong arguments."""
    parser = _Parser(prog="machines-mcp sandbox", description="A simulated Partner API on loopback.")
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
        why = getattr(problem, "strerror", None) or problem
        print(f"The sandbox can't start, try another --port or --db: {why}.", file=sys.stderr)
        return 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # One sentence, as all commands have it.
        sentence = "".join(character if character.isprintable() else "?" for character in message)
        self.exit(2, f"{sentence}; see {self.prog} --help.\n")


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError("must be a number from 0 to 65535")


if __name__ == "__main__":
    sys.exit(main())
