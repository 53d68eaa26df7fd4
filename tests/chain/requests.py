"""Requests for plans that pass every check, to be tampered with, and the chain that they are checked on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from eth_keys.datatypes import PrivateKey

from machines_mcp.chain import evm
from machines_mcp.chain.checks import PlanRequest
from machines_mcp.chain.plan import Plan, make_plan
from machines_mcp.chain.reads import SELECTORS
from machines_mcp.chain.rpc import EvmRpc
from machines_mcp.chain.rpc_values import Reverted
from machines_mcp.chain.terms import Approved, KnownChain
from machines_mcp.redaction.secret import Secret
from tests.chain.answers import CHAIN, EXPIRY, PROXY, RECIPIENT, TARGET, TOKEN, answer

KEY = PrivateKey((94).to_bytes(32))
SENDER = KEY.public_key.to_checksum_address()
STRANGER = "0x5555555555555555555555555555555555555555"
NONCE = 7
SALT = b"\xaa" * 32
NOW = EXPIRY - 600.0
APPROVED = Approved(
    amount_cents=10_050, currency="usdc", network="base", address=RECIPIENT, extra_id=None, admin_address=SENDER
)
KNOWN = KnownChain(targets=frozenset({TARGET}), tokens={TOKEN: 6})


def relay(**changed: Any) -> dict[str, Any]:
    """Return a relay that pays the approved terms, from the address that the order pays."""
    found = {
        "from_currency": "rusd",
        "from_network": "base",
        "to_currency": "XRP",
        "to_network": "xrp",
        "payin_address": RECIPIENT,
        "payin_extra_id": None,
        "payout_address": "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh",
        "payout_extra_id": "7",
    }
    return found | changed


RELAYED = Approved(
    amount_cents=10_050,
    currency="xrp",
    network="xrp",
    address="rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh",
    extra_id="7",
    admin_address=SENDER,
)


class FakeChain(EvmRpc):
    """A chain on which SENDER is the admin of PROXY. None as an answer means that the contract reverts."""

    def __init__(self, **changed: Any) -> None:
        super().__init__(Secret("http://127.0.0.1:1/"), CHAIN)
        self.values: dict[str, int | None] = {
            "decimals()": 6,
            "adminThreshold()": 1,
            "adminNonce()": NONCE,
            "nonce(address)": NONCE,
            **changed,
        }
        self.codes: Mapping[str, bytes] = {}
        self.accepts: Callable[[bytes], bool] = lambda data: True
        self.reason = b""
        self.wallet: bytes | None = None

    async def check_chain(self) -> None:
        return

    async def code(self, address: str) -> bytes:
        return self.codes.get(address, b"")

    async def call(self, to: str, data: bytes, *, sender: str | None = None) -> bytes:
        names = [name for name, selector in SELECTORS.items() if selector == data[:4]]
        if names:
            value = self._view(names[0], to, data)
            if value is None:
                raise Reverted(b"")
            return value.to_bytes(32)
        if data[:4].hex() == "1626ba7e":
            if self.wallet is None:
                raise Reverted(b"")
            return self.wallet
        if sender != SENDER or to != TARGET or not self.accepts(data):
            raise Reverted(self.reason)
        return b""

    def _view(self, name: str, to: str, data: bytes) -> int | None:
        if name == "isAdmin(address)" and name not in self.values:
            return int((to, data[16:].hex()) == (PROXY, SENDER[2:].lower()))
        return self.values[name]


def request(path: str = "coordinator_v2", **changed: Any) -> PlanRequest:
    """Return a request that passes; what is not a field of it changes the answer."""
    fields = {field.name for field in dataclasses.fields(PlanRequest)}
    of_answer = {name: value for name, value in changed.items() if name not in fields}
    given: dict[str, Any] = {
        "answer": answer(path, **of_answer),
        "approved": APPROVED,
        "consumed": True,
        "now": NOW,
        "known": KNOWN,
        "production": False,
    }
    return PlanRequest(**(given | {name: value for name, value in changed.items() if name in fields}))


async def salt_for(nonce: int) -> bytes:
    return SALT


async def plan(given: PlanRequest, rpc: EvmRpc | None = None) -> Plan:
    return await make_plan(given, rpc, salt_for)


def signed(typed: dict[str, Any], key: PrivateKey = KEY) -> bytes:
    """Return the key's signature of typed data, as wallets do: v is 27 or 28."""
    signature = key.sign_msg_hash(evm.digest(typed)).to_bytes()
    return signature[:64] + bytes([signature[64] + 27])
