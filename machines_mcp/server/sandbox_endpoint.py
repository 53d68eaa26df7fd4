"""Where the embedded simulator answers, as its first line says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from machines_mcp.redaction.secret import Secret


@dataclass(frozen=True, slots=True)
class SandboxChain:
    """A chain of the simulator: its JSON-RPC, the contracts to call, and the decimals of tokens by address."""

    rpc_url: str
    targets: tuple[str, ...]
    tokens: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SandboxWallet:
    """An account with coins on every chain of the simulator, and its key."""

    address: str
    private_key: Secret


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The simulator's base URL and partner key. `control_url` advances its state.

    `chains` (by chain id) and `wallet` are empty unless the simulator was started with a chain.
    """

    base_url: str
    partner_key: Secret
    control_url: str
    chains: Mapping[int, SandboxChain] = field(default_factory=dict)
    wallet: SandboxWallet | None = None


def as_endpoint(known: Mapping[str, Any]) -> Endpoint:
    """Read the first line of a simulator.

    Raises:
        KeyError: Something is missing.
    """
    wallet = known.get("wallet")
    return Endpoint(
        base_url=known["base_url"],
        partner_key=Secret(known["partner_key"]),
        control_url=known["control_url"],
        chains={int(chain_id): _as_chain(chain) for chain_id, chain in known.get("chains", {}).items()},
        wallet=None if wallet is None else SandboxWallet(wallet["address"], Secret(wallet["private_key"])),
    )


def _as_chain(known: Mapping[str, Any]) -> SandboxChain:
    tokens = {token["address"]: token["decimals"] for token in known["tokens"]}
    return SandboxChain(known["rpc_url"], tuple(known["targets"]), tokens)
