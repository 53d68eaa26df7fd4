"""Compile the contracts of the simulator's chain: `python -m tests.chain.compiler` writes the file that it ships."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from machines_mcp.sandbox.chain.artifacts import CONTRACTS, FILE


def compiled(changed: Mapping[str, str] | None = None) -> dict[str, dict[str, str]]:
    """Return the creation and runtime code of each contract, or of those in `changed` from that source."""
    from vyper.compiler import compile_code

    sources = changed or {path.stem: path.read_text(encoding="utf-8") for path in sorted(CONTRACTS.glob("*.vy"))}
    found = {}
    for name, source in sources.items():
        made = compile_code(source, contract_path=Path(f"{name}.vy"), output_formats=("bytecode", "bytecode_runtime"))
        found[name] = {"creation": made["bytecode"], "runtime": made["bytecode_runtime"]}
    return found


def written() -> str:
    """Return the text of the file."""
    return json.dumps(compiled(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(written(), encoding="utf-8")
