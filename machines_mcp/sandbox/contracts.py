"""The collateral contracts of a user: one of each version, on a chain each, the same ones for the user's whole life."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import Any, Final

from machines_mcp.sandbox.assets import SETTLED, Pair


@dataclass(frozen=True)
class Contract:
    """Where collateral sits, what it holds and how it is called."""

    contract_id: str
    version: str
    settled: Pair
    proxy: str
    entry_point: str

    @property
    def chain_id(self) -> int:
        return self.settled.network.chain_id or 0

    @property
    def token(self) -> str:
        return self.settled.token_contract or ""

    def execution(self) -> dict[str, Any]:
        """As `data.execution` of a withdrawal."""
        coordinator = self.version == "v2"
        return {
            "contractId": self.contract_id,
            "contractVersion": self.version,
            "chainId": self.chain_id,
            "collateralProxyAddress": self.proxy,
            "controllerAddress": None if coordinator else self.entry_point,
            "coordinatorAddress": self.entry_point if coordinator else None,
            "callTarget": self.entry_point,
            "callPath": "coordinator_v2" if coordinator else "controller_v1",
        }


# The entry points are shared by all users, as on the real chains.
_VERSIONS: Final = ("v2", "v1")
_NAMESPACE: Final = uuid.UUID("6d616368-696e-4573-8d63-6f6e74726163")


def contracts_of(user_id: str) -> tuple[Contract, ...]:
    """The user's contracts, the default one (Base, version 2) first."""
    return tuple(
        Contract(
            contract_id=str(uuid.uuid5(_NAMESPACE, f"{user_id} {version}")),
            version=version,
            settled=settled,
            proxy=_address(f"proxy {user_id} {version}"),
            entry_point=_address(f"entry point {version}"),
        )
        for version, settled in zip(_VERSIONS, SETTLED, strict=True)
    )


def contract_holding(user_id: str, pair: Pair) -> Contract:
    """The contract that a deposit of `pair` ends in: its own where one holds that asset, else the default."""
    contracts = contracts_of(user_id)
    return next((contract for contract in contracts if contract.settled == pair), contracts[0])


def _address(seed: str) -> str:
    return "0x" + hashlib.sha256(seed.encode()).hexdigest()[-40:]
