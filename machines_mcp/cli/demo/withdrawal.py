"""The demo of a withdrawal that ends on chain: the scenes after the deposit, with a wallet between the calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from machines_mcp.cli.demo.scenes import SCENES, Results, Scene, asset_of
from machines_mcp.cli.demo.wallet import DemoWallet
from machines_mcp.server.sandbox_process import SandboxProcess


async def funded_wallet(sandbox: SandboxProcess) -> DemoWallet:
    """Start the simulator with a chain, and return the wallet that it has money for.

    Raises:
        SandboxFailed: It did not start, or has no chain.
    """
    from machines_mcp.server.sandbox_process import SandboxFailed

    endpoint = await sandbox.endpoint()
    if endpoint.wallet is None or not endpoint.chains:
        raise SandboxFailed
    chain = next(iter(endpoint.chains.values()))
    return DemoWallet(endpoint.wallet.address, endpoint.wallet.private_key, chain.rpc_url)


def simulator_of(state_dir: Path) -> SandboxProcess:
    """Return the simulator, with a chain, that a server with this state folder joins."""
    return SandboxProcess(state_dir / "embedded", chain=True)


def withdrawal_scenes(wallet: DemoWallet) -> tuple[Scene, ...]:
    """Return the scenes up to the balance, then those of the withdrawal."""
    upto = next(place for place, scene in enumerate(SCENES) if scene.tool == "get_balances") + 1
    tool = "get_withdrawal_transaction"
    return (
        *SCENES[:upto],
        Scene((), "quote_withdrawal", "terms for ten minutes", lambda r: asset_of(r) | _terms(wallet)),
        Scene((), "create_withdrawal", "the demo approves it", _quote_id),
        Scene((), tool, "what the wallet signs", _withdrawal_id),
        Scene((), tool, "the wallet signed; what it sends", lambda r: _withdrawal_id(r) | _signature(r, wallet)),
        Scene((), "confirm_withdrawal", "sent; the receipt", lambda r: _withdrawal_id(r) | _sent(r, wallet)),
        Scene((), "get_balances", "what is left"),
    )


def _terms(wallet: DemoWallet) -> dict[str, Any]:
    return {"amount_cents": 2500, "address": "0x" + "1d" * 20, "admin_address": wallet.address}


def _quote_id(results: Results) -> dict[str, Any]:
    return {"quote_id": results["quote_withdrawal"]["quote_id"]}


def _withdrawal_id(results: Results) -> dict[str, Any]:
    return {"withdrawal_id": results["create_withdrawal"]["withdrawal_id"]}


def _signature(results: Results, wallet: DemoWallet) -> dict[str, Any]:
    return {"admin_signature": wallet.sign(results["get_withdrawal_transaction"]["typed_data"])}


def _sent(results: Results, wallet: DemoWallet) -> dict[str, Any]:
    return {"transaction_hash": wallet.send(results["get_withdrawal_transaction"]["transaction"]), "wait_seconds": 20}
