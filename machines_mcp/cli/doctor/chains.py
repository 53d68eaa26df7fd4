"""Check what plans of withdrawals need: the extra, and with `--probe` the nodes of the chains."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import aclosing

from machines_mcp.chain.extras import plans_evm, plans_solana
from machines_mcp.chain.faults import RpcUnavailable
from machines_mcp.chain.rpc import EvmRpc
from machines_mcp.chain.rpc_url import shown_host
from machines_mcp.chain.solana_rpc import CAIP2, SolanaRpc
from machines_mcp.cli.doctor.finding import Finding
from machines_mcp.redaction.secret import Secret


async def check_chains(rpc_urls: Mapping[int, Secret], named: Collection[int], *, probe: bool) -> list[Finding]:
    """Return a finding for each node, with its host alone, and for what is missing. `named`: the policy's chains."""
    findings = [] if plans_evm() or plans_solana() else [_no_extra()]
    for chain_id, url in sorted(rpc_urls.items()):
        findings.append(await _node(chain_id, url, probe=probe))
    return findings + [_no_node(chain_id) for chain_id in sorted(set(named) - rpc_urls.keys())]


def _no_extra() -> Finding:
    return Finding(
        True,
        "chains",
        "withdrawals end with the signature of Machines: the extras chain and solana are not installed; run make chain"
        " in a checkout, or see docs/withdrawal.md",
    )


def _no_node(chain_id: int) -> Finding:
    message = f"the policy names it, but it has no node, so nothing is read from it; set MACHINES_RPC_URL_{chain_id}"
    return Finding(True, f"chain {chain_id}", message, warning=True)


async def _node(chain_id: int, url: Secret, *, probe: bool) -> Finding:
    check, host = f"chain {chain_id}", shown_host(url.expose())
    if not probe:
        return Finding(True, check, f"the node at {host}; not asked, --probe does")
    try:
        await _ask(chain_id, url)
    except RpcUnavailable as fault:
        return Finding(False, check, f"the node at {host}: {fault.why}; check MACHINES_RPC_URL_{chain_id}.")
    return Finding(True, check, f"the node at {host} is of this chain")


async def _ask(chain_id: int, url: Secret) -> None:
    """Ask the node of which chain it is.

    Raises:
        RpcUnavailable: It is of another chain, or gave no usable answer.
    """
    if chain_id not in CAIP2:
        async with aclosing(EvmRpc(url, chain_id)) as evm:
            await evm.check_chain()
        return
    async with aclosing(SolanaRpc(url, chain_id)) as solana:
        if await solana.check_cluster() is None:
            raise RpcUnavailable("it refused the request")
