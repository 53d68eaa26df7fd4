"""Stored answers of `POST /withdrawals`, for the three call paths."""

from __future__ import annotations

from typing import Any

ADMIN = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
RECIPIENT = "0xfeDcbaFEdcBaFEDcbAfedcBAfeDCBAFeDCBafEdc"
PROXY = "0xABcdEFABcdEFabcdEfAbCdefabcdeFABcDEFabCD"
TOKEN = "0x9876543210987654321098765432109876543210"
TARGET = "0x3333333333333333333333333333333333333333"
EXPIRY = 1_735_689_600
CHAIN = 84_532
SALT = b"\x11" * 32
SIGNATURE = b"\x42" * 65


def parameters(**changed: Any) -> list[Any]:
    """Return the seven parameters; `p5=...` changes one."""
    found = [PROXY, TOKEN, "100500000", RECIPIENT, EXPIRY, f"0x{SALT.hex()}", f"0x{SIGNATURE.hex()}"]
    for name, value in changed.items():
        found[int(name[1:])] = value
    return found


def answer(path: str = "coordinator_v2", **changed: Any) -> dict[str, Any]:
    """Return a `ready` answer in snake case. Keys of `execution` and of the answer can be changed by name."""
    execution = {
        "contract_id": "c1",
        "contract_version": 2,
        "chain_id": CHAIN,
        "collateral_proxy_address": PROXY,
        "controller_address": TARGET if path == "controller_v1" else None,
        "coordinator_address": None if path == "controller_v1" else TARGET,
        "call_target": TARGET,
        "call_path": path,
    }
    found: dict[str, Any] = {
        "status": "ready",
        "retry_after_seconds": None,
        "parameters": parameters(),
        "signature": None,
        "expires_at": "2025-01-01T00:00:00Z",
        "execution": execution,
        "relay": None,
    }
    for name, value in changed.items():
        (execution if name in execution else found)[name] = value
    return found
