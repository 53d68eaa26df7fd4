"""The contracts of the simulator's chain: a withdrawal moves the money once, and nothing else moves any."""

from __future__ import annotations

import sys

import pytest

if sys.version_info >= (3, 13):
    pytest.skip("pyrevm has no wheels for this Python", allow_module_level=True)

from machines_mcp.sandbox.chain.artifacts import FILE
from machines_mcp.sandbox.chain.evm import Failed, Message
from tests.chain.attacks import CHANGE_FIRST, attacks
from tests.chain.compiler import written
from tests.chain.contract_world import ADMIN, AMOUNT, FUNDS, RECIPIENT, SECOND, STRANGER, World


@pytest.mark.parametrize("version", [1, 2])
def test_withdrawal_moves_the_money_once(version: int) -> None:
    world = World(version)
    for count, admin in enumerate((ADMIN, SECOND, ADMIN), 1):
        mined = world.send(world.signed(user=admin))
        assert mined.succeeded
        assert world.deployment.withdrawn_from(mined.logs) == [world.proxy]
        assert world.deployment.balance(world.proxy) == FUNDS - count * AMOUNT
        assert world.deployment.balance(RECIPIENT) == count * AMOUNT
        assert world.deployment.nonce(world.proxy) == count


@pytest.mark.parametrize(("version", "name"), [(version, name) for version in (1, 2) for name in attacks(version)])
def test_attack_reverts_and_moves_nothing(version: int, name: str) -> None:
    world = World(version)
    assert world.send(world.signed()).succeeded
    before = world.facts()
    mined = attacks(version)[name](world)
    assert (mined.succeeded, mined.logs) == (False, ())
    # Of the two transactions of a replay, the first was in order.
    assert world.deployment.balance(world.proxy) == FUNDS - (2 if "replay" in name else 1) * AMOUNT
    if name not in CHANGE_FIRST:
        assert world.facts() == before


@pytest.mark.parametrize(("version", "reason"), [(1, "Expired signature"), (2, "ExpiredSignature")])
def test_reason_of_a_revert_can_be_read_before_sending(version: int, reason: str) -> None:
    world = World(version)
    signed = world.signed()
    world.now += 1800
    with pytest.raises(Failed, match=f"^{reason}$"):
        world.node.look(Message(ADMIN.address, world.entry, signed.calldata()))
    with pytest.raises(Failed, match=r"^Unauthorized$"):
        world.node.look(Message(STRANGER.address, world.entry, signed.calldata()))


@pytest.mark.check
def test_compiled_contracts_are_those_of_the_sources() -> None:
    assert FILE.read_text(encoding="utf-8") == written()
