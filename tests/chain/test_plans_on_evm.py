"""Plan, sign, send and confirm on an EVM: the balance moves once, and no other transaction moves it."""

from __future__ import annotations

import base64
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

if sys.version_info >= (3, 13):
    pytest.skip("pyrevm has no wheels for this Python", allow_module_level=True)

import json

from machines_mcp.chain.checks import NAMES, PlanRequest
from machines_mcp.chain.evm import canonical, digest
from machines_mcp.chain.faults import CheckFailed, Stale, WrongSignature
from machines_mcp.chain.order import COORDINATOR, Order
from machines_mcp.chain.plan import Plan, make_plan
from machines_mcp.chain.receipts import Confirmation, confirm
from machines_mcp.chain.rpc import EvmRpc
from machines_mcp.chain.terms import Approved, KnownChain
from machines_mcp.redaction.secret import Secret
from machines_mcp.sandbox.chain.key import Key
from machines_mcp.sandbox.chain.rpc import Rpc
from tests.chain.contract_world import ADMIN, AMOUNT, CHAIN, FUNDS, RECIPIENT, STRANGER, World
from tests.chain.fake_node import http, node

pytestmark = pytest.mark.anyio

VERSIONS = [1, 2]
SALT = b"\xaa" * 32


async def salt_for(nonce: int) -> bytes:
    return SALT


def answer_of(order: Order, salt: Any = None) -> dict[str, Any]:
    """Return the API's answer with this order."""
    entry = {"controller_address": order.target, "coordinator_address": None}
    if order.path == COORDINATOR:
        entry = {"controller_address": None, "coordinator_address": order.target}
    return {
        "status": "ready",
        "parameters": [
            order.collateral,
            order.token,
            str(order.amount),
            order.recipient,
            order.expires_at,
            list(order.salt) if salt is None else salt,
            f"0x{order.signature.hex()}",
        ],
        "signature": None,
        "expires_at": order.expires_at,
        "execution": {
            "chain_id": CHAIN,
            "collateral_proxy_address": order.collateral,
            "call_target": order.target,
            "call_path": order.path,
            **entry,
        },
        "relay": None,
    }


@dataclass
class Wallet:
    """An admin's wallet, and the server's node of a world."""

    world: World
    rpc: EvmRpc

    def request(self, order: Order, *, user: Key = ADMIN, salt: Any = None, **changed: Any) -> PlanRequest:
        approved = Approved(
            amount_cents=order.amount // 10_000,
            currency="rusd",
            network="base",
            address=order.recipient,
            admin_address=user.address,
        )
        known = KnownChain(targets=frozenset({order.target}), tokens={order.token: 6})
        given: dict[str, Any] = {
            "answer": answer_of(order, salt),
            "approved": approved,
            "consumed": True,
            "now": self.world.now,
            "known": known,
            "production": True,
        }
        return PlanRequest(**(given | changed))

    async def plan(self, order: Order, *, user: Key = ADMIN, signer: Key | None = None, **changed: Any) -> Plan:
        """Return the plan to send, after the signature that version 2 needs."""
        first = await make_plan(self.request(order, user=user, **changed), self.rpc, salt_for)
        if first.typed_data is None:
            return first
        signature = (signer or user).sign(digest(first.typed_data))
        more = changed | {"signature": signature, "signed_nonce": first.nonce}
        return await make_plan(self.request(order, user=user, **more), self.rpc, salt_for)

    async def send(self, plan: Plan, *, sender: Key = ADMIN, data: bytes | None = None) -> Confirmation:
        """Send the transaction of a plan, and read what it did."""
        assert plan.transaction is not None
        data = bytes.fromhex(plan.transaction["data"][2:]) if data is None else data
        mined = self.world.call(sender, plan.transaction["to"], data)
        salts, signatures = ((plan.salt,), (plan.signature,)) if plan.salt and plan.signature else ((), ())
        return await confirm(
            plan.order, plan.sender, self.rpc, mined.transaction.hash, salts=salts, signatures=signatures
        )

    def balances(self) -> tuple[int, int]:
        """Return what the collateral and the recipient hold."""
        return self.world.deployment.balance(self.world.proxy), self.world.deployment.balance(RECIPIENT)


@asynccontextmanager
async def wallet(version: int) -> AsyncIterator[Wallet]:
    world = World(version)
    rpc = Rpc(world.node, lambda mined: None)

    async def answer(request: dict[str, Any]) -> bytes:
        return http(rpc.answer(json.dumps(request).encode()))

    async with node(answer) as url:
        client = EvmRpc(Secret(url), CHAIN)
        try:
            yield Wallet(world, client)
        finally:
            await client.aclose()


FORMS: list[Any] = [list, lambda salt: f"0x{salt.hex()}", lambda salt: base64.b64encode(salt).decode()]


@pytest.mark.parametrize("form", FORMS, ids=["list", "hex", "base64"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_the_plan_moves_the_money_once(version: int, form: Any) -> None:
    async with wallet(version) as mine:
        order = mine.world.signed().order
        assert mine.balances() == (FUNDS, 0)
        plan = await mine.plan(order, salt=form(order.salt))
        assert set(plan.verified) == set(NAMES) - ({"signature"} if version == 1 else set())
        assert (await mine.send(plan)).state == "done"
        assert mine.balances() == (FUNDS - AMOUNT, AMOUNT)
        again = await mine.send(plan)
        assert (again.state, again.differs) == ("reverted", ())
        assert again.reason == "a signature does not fit the arguments, the sender and the nonce on chain"
        with pytest.raises(Stale):
            await mine.plan(order, signed_nonce=plan.nonce)
        # The executor signed for the nonce of before, also where nobody remembers it.
        with pytest.raises(CheckFailed) as refused:
            await mine.plan(order)
        assert refused.value.check == "simulated"
        assert mine.balances() == (FUNDS - AMOUNT, AMOUNT)


CHANGES: dict[str, Any] = {
    "amount": AMOUNT * 2,
    "recipient": STRANGER.address,
    "expires_at": 4_000_000_000,
    "salt": b"\1" * 32,
    "signature": b"\2" * 64 + b"\x1b",
    "collateral": "0x" + "a4" * 20,
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("version", VERSIONS)
async def test_what_the_executor_did_not_sign_is_refused_before_it_is_sent(version: int, name: str) -> None:
    """Even if a person approved it, and the policy lists it."""
    async with wallet(version) as mine:
        order = replace(mine.world.signed().order, **{name: CHANGES[name]})
        with pytest.raises(CheckFailed) as refused:
            await mine.plan(order)
        assert refused.value.check == "simulated"
        # Without a node nobody can tell, and the contracts refuse it.
        blind = await make_plan(mine.request(order, given_nonce=0), None, salt_for)
        if blind.typed_data is not None:
            signed = mine.request(order, given_nonce=0, signature=ADMIN.sign(digest(blind.typed_data)))
            blind = await make_plan(signed, None, salt_for)
        assert "simulated" in blind.not_verified
        assert (await mine.send(blind)).state == "reverted"
        assert mine.balances() == (FUNDS, 0)


@pytest.mark.parametrize("version", VERSIONS)
async def test_another_sender_moves_nothing(version: int) -> None:
    async with wallet(version) as mine:
        found = await mine.send(await mine.plan(mine.world.signed().order), sender=STRANGER)
        assert (found.state, found.differs) == ("reverted", ("from",))
        assert found.reason == "the sender is not an admin of the collateral"
        assert mine.balances() == (FUNDS, 0)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_withdrawal_that_the_executor_signed_for_no_admin_is_refused(version: int) -> None:
    async with wallet(version) as mine:
        order = mine.world.signed(user=STRANGER).order
        with pytest.raises(CheckFailed) as refused:
            await mine.plan(order, user=STRANGER)
        assert refused.value.check == "admin"
        # The executor signed for another sender.
        with pytest.raises(CheckFailed) as refused:
            await mine.plan(order)
        assert refused.value.check == "simulated"
        assert mine.balances() == (FUNDS, 0)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_raised_nonce_is_stale(version: int) -> None:
    async with wallet(version) as mine:
        order = mine.world.signed().order
        plan = await mine.plan(order)
        mine.world.deployment.raise_nonce(mine.world.proxy)
        with pytest.raises(Stale):
            await mine.plan(order, signed_nonce=plan.nonce)
        assert (await mine.send(plan)).state == "reverted"
        assert mine.balances() == (FUNDS, 0)


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_seven_arguments_at_another_contract_are_different(version: int) -> None:
    async with wallet(version) as mine:
        plan = await mine.plan(mine.world.signed().order)
        assert plan.transaction is not None
        for target in (mine.world.proxy, mine.world.token):
            elsewhere = replace(plan, transaction={**plan.transaction, "to": target})
            found = await mine.send(elsewhere)
            assert (found.state, found.differs) == ("reverted", ("to",))
        assert mine.balances() == (FUNDS, 0)


async def test_the_signature_of_no_admin_is_refused_before_it_is_sent() -> None:
    async with wallet(2) as mine:
        with pytest.raises(WrongSignature) as refused:
            await mine.plan(mine.world.signed().order, signer=STRANGER)
        assert (refused.value.signer, refused.value.recovered) == (ADMIN.address, STRANGER.address)


def twin(signature: bytes) -> bytes:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    other = (order - int.from_bytes(signature[32:64])).to_bytes(32)
    return signature[:32] + other + bytes([55 - signature[64]])


def low_v(signature: bytes) -> bytes:
    return signature[:64] + bytes([signature[64] - 27])


@pytest.mark.parametrize("form", [twin, low_v, lambda signature: low_v(twin(signature))])
async def test_other_forms_of_a_signature_revert_until_they_are_made_canonical(form: Any) -> None:
    async with wallet(2) as mine:
        order = mine.world.signed().order
        plan = await mine.plan(order)
        assert plan.signature is not None
        assert plan.transaction is not None
        given = form(plan.signature)
        assert canonical(given) == plan.signature
        data = bytes.fromhex(plan.transaction["data"][2:].replace(plan.signature.hex(), given.hex()))
        found = await mine.send(plan, data=data)
        assert (found.state, found.differs) == ("reverted", ("admin_signature",))
        assert mine.balances() == (FUNDS, 0)
        assert (await mine.send(await mine.plan(order))).state == "done"
        assert mine.balances() == (FUNDS - AMOUNT, AMOUNT)


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_same_transfer_of_another_withdrawal_does_not_confirm_this_one(version: int) -> None:
    async with wallet(version) as mine:
        one = await mine.plan(mine.world.signed().order)
        found = await mine.send(one)
        assert found.state == "done"
        other = mine.world.signed().order
        hashed = mine.world.node.latest.mined
        assert hashed is not None
        confirmed = await confirm(other, ADMIN.address, mine.rpc, hashed.transaction.hash)
        assert confirmed.state == "different"
        assert {"salt", "signature"} <= set(confirmed.differs)
        assert "transfer" not in confirmed.differs
