"""A user's collateral contracts: one on each of three chains, derived from the user and never changing."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from machines_mcp.sandbox.addresses import base58
from machines_mcp.sandbox.assets import SETTLED, Pair

if TYPE_CHECKING:
    from machines_mcp.sandbox.user import User


@dataclass(frozen=True)
class Contract:
    """A collateral contract: its addresses, the asset it holds and how it is called."""

    contract_id: str
    version: int
    call_path: str
    settled: Pair
    proxy: str
    entry_point: str

    @property
    def chain_id(self) -> int:
        return self.settled.network.chain_id or 0

    @property
    def token(self) -> str:
        return self.settled.token_contract or ""

    def units(self, cents: int) -> int:
        """Return the amount in units of the token."""
        return cents * _UNITS_PER_CENT

    def execution(self) -> dict[str, Any]:
        """Return the contract as `data.execution` of a withdrawal."""
        coordinator = self.version == 2
        return {
            "contractId": self.contract_id,
            "contractVersion": self.version,
            "chainId": self.chain_id,
            "collateralProxyAddress": self.proxy,
            "controllerAddress": None if coordinator else self.entry_point,
            "coordinatorAddress": self.entry_point if coordinator else None,
            "callTarget": self.entry_point,
            "callPath": self.call_path,
        }


# Version and call path of each. All users share the entry points, as on the real chains.
_KINDS: Final = ((2, "coordinator_v2"), (1, "controller_v1"), (2, "solana_v2_02"))
# The settled tokens have 6 decimals.
_UNITS_PER_CENT: Final = 10_000
_NAMESPACE: Final = uuid.UUID("6d616368-696e-4573-8d63-6f6e74726163")


# Cached: every listed card and deposit needs them, and they depend only on the user.
@lru_cache(maxsize=256)
def contracts_of(user: User) -> tuple[Contract, ...]:
    """Return the user's contracts, the default first: Solana if a Solana wallet is linked, otherwise Base."""
    contracts = [
        Contract(
            contract_id=str(uuid.uuid5(_NAMESPACE, f"{user.user_id} {settled.network.id}")),
            version=version,
            call_path=call_path,
            settled=settled,
            proxy=_address(settled, f"proxy {user.user_id} {settled.network.id}"),
            entry_point=_entry_point(settled, call_path),
        )
        for (version, call_path), settled in zip(_KINDS, SETTLED, strict=True)
    ]
    return tuple(sorted(contracts, key=lambda one: one.settled.network.family != (user.wallet_chain or "evm")))


def contract_holding(user: User, pair: Pair) -> Contract:
    """Return the contract that receives a deposit of `pair`: the one that holds the asset, or the default."""
    contracts = contracts_of(user)
    return next((contract for contract in contracts if contract.settled == pair), contracts[0])


def evm_entry_points() -> list[tuple[int, Pair, str]]:
    """Return the version, the asset and the address of the entry point on each EVM chain."""
    return [
        (version, settled, _entry_point(settled, call_path))
        for (version, call_path), settled in zip(_KINDS, SETTLED, strict=True)
        if settled.network.family == "evm"
    ]


def _entry_point(settled: Pair, call_path: str) -> str:
    return _address(settled, f"entry point {call_path}")


def _address(settled: Pair, seed: str) -> str:
    digest = hashlib.sha256(seed.encode())
    return base58(digest.digest()) if settled.network.family == "solana" else "0x" + digest.hexdigest()[-40:]
