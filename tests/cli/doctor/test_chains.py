from __future__ import annotations

import pytest

from machines_mcp.cli.doctor import chains
from machines_mcp.cli.doctor.chains import check_chains
from machines_mcp.redaction.secret import Secret
from tests.chain.fake_node import node, scripted

pytestmark = pytest.mark.anyio

URL = Secret("https://rpc.example/v3/canary-key-77f0")


async def test_without_the_probe_the_host_alone_is_shown() -> None:
    (found,) = await check_chains({84532: URL}, (), probe=False)
    assert (found.ok, found.check, found.message) == (
        True,
        "chain 84532",
        "the node at rpc.example; not asked, --probe does",
    )


async def test_the_probe_compares_the_chain_id() -> None:
    async with node(scripted({}, chain_id=84532)) as url:
        right, wrong = await check_chains({84532: Secret(url), 900_000: Secret(url)}, (), probe=True)
    assert (right.ok, right.message) == (True, "the node at 127.0.0.1 is of this chain")
    assert not wrong.ok
    assert wrong.message == "the node at 127.0.0.1: it is a node of another chain; check MACHINES_RPC_URL_900000."
    assert "canary" not in right.message + wrong.message


async def test_the_probe_compares_the_first_block_of_a_solana_cluster() -> None:
    genesis = "EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG"
    async with node(scripted({"getGenesisHash": genesis})) as url:
        mainnet, devnet = await check_chains({900: Secret(url), 901: Secret(url)}, (), probe=True)
    assert (devnet.ok, devnet.message) == (True, "the node at 127.0.0.1 is of this chain")
    assert mainnet.message == "the node at 127.0.0.1: it is a node of another chain; check MACHINES_RPC_URL_900."


async def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("plans_evm", "plans_solana"):
        monkeypatch.setattr(chains, name, lambda: False)
    (found,) = await check_chains({}, (), probe=False)
    assert found.ok
    assert "the extras chain and solana are not installed" in found.message
    monkeypatch.setattr(chains, "plans_evm", lambda: True)
    assert await check_chains({}, (), probe=False) == []


async def test_a_chain_of_the_policy_without_a_node_is_a_warning() -> None:
    _, found = await check_chains({84532: URL}, [8453, 84532], probe=False)
    assert (found.ok, found.warning, found.check) == (True, True, "chain 8453")
    assert found.message.endswith("set MACHINES_RPC_URL_8453")
