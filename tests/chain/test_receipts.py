from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from eth_utils.crypto import keccak

from machines_mcp.chain import evm
from machines_mcp.chain.order import Order, read_order
from machines_mcp.chain.reads import SELECTORS
from machines_mcp.chain.receipts import TRANSFER, Confirmation, confirm
from machines_mcp.chain.rpc_values import Log, Receipt, Reverted
from tests.chain.answers import PROXY, RECIPIENT, TARGET, TOKEN, answer
from tests.chain.requests import SALT, SENDER, STRANGER, FakeChain

pytestmark = pytest.mark.anyio

ORDER = read_order(answer())
SIGNATURE = b"\xbb" * 65
HASH = "0x" + "cd" * 32


def topic(address: str) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])


def transfer(**changed: Any) -> Log:
    found: dict[str, Any] = {
        "address": TOKEN.lower(),
        "topics": (TRANSFER, topic(PROXY), topic(RECIPIENT)),
        "data": ORDER.amount.to_bytes(32),
    }
    return Log(**(found | changed))


def receipt(**changed: Any) -> Receipt:
    found: dict[str, Any] = {
        "succeeded": True,
        "block": 16,
        "sender": SENDER.lower(),
        "target": TARGET.lower(),
        "logs": (transfer(),),
    }
    return Receipt(**(found | changed))


class Mined(FakeChain):
    """A chain with one transaction."""

    def __init__(self, found: Receipt | None, data: bytes | None) -> None:
        super().__init__()
        self._found, self._data = found, data

    async def receipt(self, transaction_hash: str) -> Receipt | None:
        return self._found

    async def mined_input(self, transaction_hash: str) -> bytes | None:
        return self._data

    async def call(self, to: str, data: bytes, *, sender: str | None = None) -> bytes:
        if self.reason:
            raise Reverted(self.reason)
        return b""


def call(order: Order = ORDER, salt: bytes = SALT, signature: bytes = SIGNATURE) -> bytes:
    return evm.calldata(order, [salt], [signature])


async def confirmed(found: Receipt | None, data: bytes | None, reason: bytes = b"") -> Confirmation:
    rpc = Mined(found, data)
    rpc.reason = reason
    return await confirm(ORDER, SENDER, rpc, HASH, salts=(SALT,), signatures=(SIGNATURE,))


def test_the_topic_and_the_selectors_are_those_of_their_signatures() -> None:
    assert keccak(text="Transfer(address,address,uint256)") == TRANSFER
    for form, selector in SELECTORS.items():
        assert keccak(text=form)[:4] == selector


async def test_a_transfer_of_exactly_this_amount_is_done() -> None:
    assert await confirmed(receipt(), call()) == Confirmation(state="done", block=16)
    others = (transfer(topics=(b"\1" * 32,)), transfer(data=b""), transfer())
    assert (await confirmed(receipt(logs=others), call())).state == "done"


async def test_version_one_has_no_admin_signature() -> None:
    order = read_order(answer("controller_v1"))
    rpc = Mined(receipt(), evm.calldata(order))
    assert (await confirm(order, SENDER, rpc, HASH)).state == "done"


async def test_what_is_not_mined_is_pending() -> None:
    assert await confirmed(None, None) == Confirmation(state="pending")
    assert await confirmed(receipt(), None) == Confirmation(state="pending")


@pytest.mark.parametrize(
    ("found", "data", "differs"),
    [
        (receipt(target=PROXY.lower()), call(), ("to",)),
        (receipt(target=None), call(), ("to",)),
        (receipt(sender=STRANGER), call(), ("from",)),
        (receipt(logs=()), call(), ("transfer",)),
        (receipt(logs=(transfer(address=STRANGER),)), call(), ("transfer",)),
        (receipt(logs=(transfer(data=(ORDER.amount - 1).to_bytes(32)),)), call(), ("transfer",)),
        (receipt(logs=(transfer(data=b"\1"),)), call(), ("transfer",)),
        (receipt(logs=(transfer(topics=(TRANSFER, topic(PROXY), topic(STRANGER))),)), call(), ("transfer",)),
        (receipt(logs=(transfer(topics=(TRANSFER, topic(STRANGER), topic(RECIPIENT))),)), call(), ("transfer",)),
        (receipt(logs=(transfer(topics=(TRANSFER,)),)), call(), ("transfer",)),
        (receipt(), b"", ("function",)),
        (receipt(), b"\xa9\x05\x9c\xbb" + bytes(64), ("function",)),
        (receipt(), evm.calldata(read_order(answer("controller_v1"))), ("function",)),
        (receipt(), call(dataclasses.replace(ORDER, amount=5)), ("amount",)),
        (receipt(), call(dataclasses.replace(ORDER, salt=SALT)), ("salt",)),
        (receipt(), call(dataclasses.replace(ORDER, expires_at=5, signature=b"\1" * 65)), ("expires_at", "signature")),
    ],
)
async def test_another_transaction_is_different_and_says_where(
    found: Receipt, data: bytes, differs: tuple[str, ...]
) -> None:
    assert await confirmed(found, data) == Confirmation(state="different", block=16, differs=differs)


async def test_another_form_of_the_admins_signature_moved_the_same_money() -> None:
    found = await confirmed(receipt(), call(salt=b"\1" * 32, signature=b"\2" * 65))
    assert (found.state, found.differs) == ("done", ("admin_salt", "admin_signature"))


async def test_a_reverted_transaction_says_why_and_where_it_differs() -> None:
    reason = bytes.fromhex("8baa579f")
    found = await confirmed(receipt(succeeded=False, logs=()), call(signature=b"\2" * 65), reason)
    assert (found.state, found.block, found.differs) == ("reverted", 16, ("admin_signature",))
    assert found.reason == "a signature does not fit the arguments, the sender and the nonce on chain"
    unknown = await confirmed(receipt(succeeded=False, logs=()), call())
    assert (unknown.state, unknown.reason, unknown.differs) == ("reverted", "", ())
    created = await confirmed(receipt(succeeded=False, target=None, logs=()), call(), reason)
    assert (created.state, created.reason, created.differs) == ("reverted", "", ("to",))
