"""The compiled contracts. tests/chain/compiler.py makes the file from `contracts/*.vy`."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Final

CONTRACTS: Final = Path(__file__).with_name("contracts")
FILE: Final = Path(__file__).with_name("artifacts.json")


@cache
def runtime_codes() -> dict[str, bytes]:
    """Return the code that is placed at an address, by the contract's name."""
    compiled: dict[str, dict[str, str]] = json.loads(FILE.read_text(encoding="utf-8"))
    return {name: bytes.fromhex(made["runtime"].removeprefix("0x")) for name, made in compiled.items()}
