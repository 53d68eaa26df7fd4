"""Run the sandbox as a process of its own: `python -m machines_mcp.sandbox`."""

from __future__ import annotations

import argparse
import logging
import platform
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn


def main(argv: list[str] | None = None) -> int:
    """Run the sandbox. Exit code: 0 after a clean stop, 1 if it can't start, 2 for invalid arguments."""
    parser = _Parser(prog="machines-mcp sandbox", description="A simulated Partner API on loopback.")
    parser.add_argument("--port", type=_port, required=True, help="port on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--db", type=Path, help="SQLite file for the state; without it, the state is lost on exit")
    parser.add_argument("--reset", action="store_true", help="delete the saved state first")
    parser.add_argument("--leased", action="store_true", help="exit when stdin and every lease connection are closed")
    parser.add_argument("--chain", action="store_true", help="execute withdrawals on chains of its own")
    given = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    problem = serve(given.port, given.db, reset=given.reset, leased=given.leased, chain=given.chain)
    if problem is not None:
        print(problem, file=sys.stderr)
    return 0 if problem is None else 1


def serve(
    port: int,
    db: Path | None,
    *,
    reset: bool,
    leased: bool = False,
    chain: bool = False,
    announce: Callable[[Mapping[str, Any]], None] | None = None,
) -> str | None:
    """Serve until stopped. Return None, or why it can't start; `announce` receives the addresses, else stdout."""
    if chain and (problem := chain_problem()):
        return problem
    # Imported late so that a mistyped option fails before the web server loads.
    import sqlite3

    from machines_mcp.sandbox.process import Options, print_json, run

    try:
        run(Options(port, db, reset, leased, chain=chain), announce or print_json)
    except (OSError, sqlite3.DatabaseError) as failure:
        why = getattr(failure, "strerror", None) or failure
        return f"The sandbox can't start: {why}. Try another --port or --db."
    return None


def chain_problem() -> str | None:
    """Return why there can be no chain here; None if there can."""
    if all(map(find_spec, ("pyrevm", "eth_abi", "eth_account", "eth_keys"))):
        return None
    if sys.version_info >= (3, 13) or (sys.platform == "linux" and platform.machine() != "x86_64"):
        return (
            "The simulator's chains need CPython 3.11 or 3.12 on x86-64 Linux, macOS or Windows, because pyrevm has no"
            " builds for others. In a checkout: make clean, then make PYTHON=/path/to/python3.12 chain."
        )
    return (
        "The simulator's chains need the extra sandbox-chain, which is not installed. In a checkout, run make chain;"
        " docs/withdrawal.md has the other ways."
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # One line, like the other commands.
        sentence = "".join(character if character.isprintable() else "?" for character in message)
        self.exit(2, f"{sentence}; see {self.prog} --help.\n")


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError("must be a number from 0 to 65535")


if __name__ == "__main__":
    sys.exit(main())
