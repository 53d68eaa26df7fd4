"""A withdrawal to its end on chain, with an agent that knows `tools/list` alone and a wallet that knows nothing of us.

The server runs over stdio, on the simulator with its chains. Balances are read from the chain before and after.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from machines_mcp.cli.demo.wallet import DemoWallet
from machines_mcp.server.sandbox_endpoint import Endpoint
from machines_mcp.server.sandbox_process import SandboxProcess
from tests.support.stdio_client import ERAS, Agent, Era, ToolError, agent, applicant

if sys.version_info >= (3, 13):
    pytest.skip("pyrevm has no wheels for this Python", allow_module_level=True)

pytestmark = [pytest.mark.anyio, pytest.mark.check]

BASE, ETHEREUM = 84_532, 11_155_111
DESTINATIONS = {BASE: ("rusd", "base"), ETHEREUM: ("usdc", "ethereum")}
TO = "0x" + "1d" * 20
CENTS = 25_00
UNITS = CENTS * 10_000


@dataclass
class Journey:
    """An agent of a funded user, and the wallet that administers the user's collateral on a chain."""

    user: Agent
    wallet: DemoWallet
    endpoint: Endpoint
    chain: int

    @property
    def target(self) -> str:
        return self.endpoint.chains[self.chain].targets[0]

    def balance(self, holder: str) -> int:
        """Return an account's units of the chain's token, read from the chain."""
        (token,) = self.endpoint.chains[self.chain].tokens
        call = {"to": token, "data": "0x70a08231" + holder[2:].lower().rjust(64, "0")}
        return int(self.wallet.call("eth_call", call, "latest"), 16)

    async def quote(self, **terms: Any) -> dict[str, Any]:
        currency, network = DESTINATIONS[self.chain]
        to = {"amount_cents": CENTS, "currency": currency, "network": network, "address": TO}
        given = to | {"admin_address": self.wallet.address, "source_chain_id": self.chain} | terms
        return await self.user.call("quote_withdrawal", given)

    async def ready(self, **terms: Any) -> str:
        """Return the id of a withdrawal that Machines has signed."""
        made = await self.user.call("create_withdrawal", quote_id=(await self.quote(**terms))["quote_id"])
        assert made["status"] == "ready", made
        return str(made["withdrawal_id"])


@asynccontextmanager
async def journey(folder: Path, era: Era, chain: int) -> AsyncIterator[Journey]:
    sandbox = SandboxProcess(folder / "embedded", chain=True)
    endpoint = await sandbox.endpoint()
    try:
        assert endpoint.wallet is not None
        held = endpoint.wallet
        wallet = DemoWallet(held.address, held.private_key, endpoint.chains[chain].rpc_url)
        async with agent(folder, era, who="chain-user") as user:
            await user.call("create_session", purpose="kyc")
            await user.call("resolve_user", wallet_address=wallet.address)
            await user.call("submit_kyc", applicant())
            await user.call("accept_agreements")
            currency, network = DESTINATIONS[chain]
            deposit = await user.call("create_deposit", currency=currency, network=network, amount=100)
            await user.call("get_deposit", deposit_id=deposit["deposit_id"], wait_seconds=30)
            yield Journey(user, wallet, endpoint, chain)
    finally:
        await sandbox.close()


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("chain", DESTINATIONS)
async def test_agent_and_wallet_follow_next_steps_to_the_balance(tmp_path: Path, era: Era, chain: int) -> None:
    """Five calls of ours on coordinator_v2, four on controller_v1. None is refused, and the money moves once."""
    async with journey(tmp_path, era, chain) as j:
        calls = []
        result, step = await j.quote(), None
        calls.append("quote_withdrawal")
        while (step := result["next_steps"][0])["tool"] != "get_balances":
            arguments = dict(step["arguments"])
            if result.get("stage") == "sign":
                arguments["admin_signature"] = j.wallet.sign(result["typed_data"])
            elif result.get("stage") == "send":
                arguments |= {"transaction_hash": j.wallet.send(result["transaction"]), "wait_seconds": 20}
            result = await j.user.call(step["tool"], arguments)
            calls.append(step["tool"])
        signing = ["get_withdrawal_transaction"] * (2 if chain == BASE else 1)
        assert calls == ["quote_withdrawal", "create_withdrawal", *signing, "confirm_withdrawal"]
        assert (result["stage"], result["verified"], result["differs"]) == ("done", True, [])
        assert j.balance(TO) == UNITS
        assert (await j.user.call("get_balances"))["spending_power_cents"] == 75_00
        assert (await j.user.call("status"))["withdrawals"] == []
        assert (await j.user.call("list_withdrawals"))["withdrawals"][0]["status"] == "done"


async def test_every_read_of_the_chain_is_a_check(tmp_path: Path) -> None:
    async with journey(tmp_path, "2026-07-28", BASE) as j:
        known = {"withdrawal_id": await j.ready()}
        signing = await j.user.call("get_withdrawal_transaction", known)
        assert signing["not_verified"] == []
        refused = await j.user.refusal("get_withdrawal_transaction", **known, admin_nonce="0")
        assert refused[0] == "input.invalid"
        more = {"admin_signature": j.wallet.sign(signing["typed_data"])}
        sending = await j.user.call("get_withdrawal_transaction", known | more)
        assert set(sending["verified"]) > {"admin", "nonce", "signature", "simulated", "calldata"}
        assert sending["not_verified"] == []


async def test_second_withdrawal_void_by_the_first_is_stale(tmp_path: Path) -> None:
    async with journey(tmp_path, "2026-07-28", BASE) as j:
        known = {"withdrawal_id": await j.ready()}
        signing = await j.user.call("get_withdrawal_transaction", known)
        sending = await j.user.call(
            "get_withdrawal_transaction", known | {"admin_signature": j.wallet.sign(signing["typed_data"])}
        )
        sent = j.wallet.send(sending["transaction"])
        # The wallet sent it, and nobody has told the server: both signatures are used up.
        with pytest.raises(ToolError) as stale:
            await j.user.call("get_withdrawal_transaction", known)
        assert (stale.value.code, stale.value.next_tool) == ("withdrawal.stale", "confirm_withdrawal")
        assert stale.value.body["signature_expires_at"] == signing["expires_at"]
        done = await j.user.call("confirm_withdrawal", known, transaction_hash=sent, wait_seconds=20)
        assert done["stage"] == "done"
        assert (await j.user.call("get_withdrawal_transaction", known))["stage"] == "done"
        other = "0x" + "ab" * 32
        assert (await j.user.refusal("confirm_withdrawal", **known, transaction_hash=other))[0] == "input.invalid"
        assert await j.user.call("confirm_withdrawal", known, transaction_hash=sent) == done | {
            "note": done["note"],
            "next_steps": done["next_steps"],
        }


async def test_another_transaction_is_not_this_withdrawal(tmp_path: Path) -> None:
    async with journey(tmp_path, "2026-07-28", BASE) as j:
        known = {"withdrawal_id": await j.ready()}
        plain = {"to": TO, "data": "0x", "value": "0x1", "chainId": hex(BASE)}
        with pytest.raises(ToolError) as refused:
            await j.user.call("confirm_withdrawal", known, transaction_hash=j.wallet.send(plain), wait_seconds=20)
        assert refused.value.code == "chain.refused"
        assert "function" in refused.value.body["differs"]
        assert (await j.user.call("get_withdrawal_transaction", known))["stage"] == "sign"


async def test_transaction_that_reverts_can_be_sent_again(tmp_path: Path) -> None:
    async with journey(tmp_path, "2026-07-28", ETHEREUM) as j:
        known = {"withdrawal_id": await j.ready()}
        sending = await j.user.call("get_withdrawal_transaction", known)
        short = j.wallet.send(sending["transaction"], gas=60_000)
        reverted = await j.user.call("confirm_withdrawal", known, transaction_hash=short, wait_seconds=20)
        assert (reverted["stage"], reverted["verified"]) == ("send", False)
        assert j.balance(TO) == 0
        again = await j.user.call("get_withdrawal_transaction", known)
        sent = j.wallet.send(again["transaction"])
        assert (await j.user.call("confirm_withdrawal", known, transaction_hash=sent))["stage"] == "done"
        assert j.balance(TO) == UNITS


@pytest.mark.parametrize("form", ["base64", "hex", "bytes"])
async def test_every_form_of_the_salt_moves_the_money(tmp_path: Path, form: str) -> None:
    async with journey(tmp_path, "2026-07-28", ETHEREUM) as j:
        await _control(j, "/salts", {"form": form})
        known = {"withdrawal_id": await j.ready()}
        sending = await j.user.call("get_withdrawal_transaction", known)
        sent = j.wallet.send(sending["transaction"])
        assert (await j.user.call("confirm_withdrawal", known, transaction_hash=sent))["stage"] == "done"
        assert j.balance(TO) == UNITS


PROXY = "0x" + "66" * 20
HOSTILE: list[list[tuple[str, Any]]] = [
    [("execution/callTarget", PROXY), ("execution/coordinatorAddress", PROXY)],
    [("parameters/3", PROXY), ("signature/parameters/3", PROXY)],
    [("parameters/2", str(UNITS * 100)), ("signature/parameters/2", str(UNITS * 100))],
    [("parameters/1", PROXY), ("signature/parameters/1", PROXY)],
    [("parameters/0", PROXY), ("signature/parameters/0", PROXY), ("execution/collateralProxyAddress", PROXY)],
    [("execution/chainId", 1)],
    [("execution/callPath", "controller_v1")],
]


@pytest.mark.parametrize("era", ERAS)
async def test_hostile_answers_give_no_transaction(tmp_path: Path, era: Era) -> None:
    """Another contract, recipient, amount, token, collateral, chain or path is refused when it comes or at the plan."""
    async with journey(tmp_path, era, BASE) as j:
        codes = []
        for changes in HOSTILE:
            patch = [{"op": "replace", "path": f"/data/{where}", "value": value} for where, value in changes]
            fault = {"kind": "patch", "path": "/withdrawals", "method": "POST", "exact": True, "calls": 20}
            await _control(j, "/faults", fault | {"patch": patch})
            codes.append(await _refused(j))
            await _control(j, "/faults/clear", {})
            # A signature that Machines made must not keep the next one waiting.
            await _control(j, "/clock", {"advanceSeconds": 3600})
        assert None not in codes
        assert j.balance(PROXY) == 0


async def _refused(j: Journey) -> str | None:
    """Return the code with which a withdrawal was refused before any transaction was given; None if it was not."""
    quoted = await j.quote()
    try:
        made = await j.user.call("create_withdrawal", quote_id=quoted["quote_id"])
        await j.user.call("get_withdrawal_transaction", withdrawal_id=made["withdrawal_id"])
    except ToolError as refused:
        return refused.code
    return None


async def _control(j: Journey, path: str, body: dict[str, Any]) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        (await http.post(j.endpoint.control_url + path, json=body)).raise_for_status()


async def test_the_command_prints_the_same_object(tmp_path: Path) -> None:
    async with journey(tmp_path, "2026-07-28", BASE) as j:
        known = {"withdrawal_id": await j.ready()}
        shown = await j.user.call("get_withdrawal_transaction", known)
        env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path), "CI": "1", "PATH": os.environ["PATH"]}
        command = [sys.executable, "-m", "machines_mcp", "withdrawal", known["withdrawal_id"]]
        printed = subprocess.run([*command, "--json"], capture_output=True, text=True, env=env, timeout=60)  # noqa: ASYNC221
        assert printed.returncode == 0, printed.stderr
        same = ("stage", "typed_data", "call", "from", "verified")
        assert {name: json.loads(printed.stdout)[name] for name in same} == {name: shown[name] for name in same}
        signature = j.wallet.sign(shown["typed_data"])
        sent = subprocess.run(  # noqa: ASYNC221
            [*command, "--signature", signature], capture_output=True, text=True, env=env, timeout=60
        )
        assert "Stage:       send" in sent.stdout, sent
        wrong = subprocess.run(  # noqa: ASYNC221
            [*command[:-1], "wd_" + "0" * 32], capture_output=True, text=True, env=env, timeout=60
        )
        assert (wrong.returncode, wrong.stdout) == (1, "")
        assert len(wrong.stderr.strip().splitlines()) == 1
