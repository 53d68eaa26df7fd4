"""Wallets of others, and a node of others: viem and ethers on the simulator's chains, the contracts on anvil."""

from __future__ import annotations

import fcntl
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

if sys.version_info >= (3, 13):
    pytest.skip("pyrevm has no wheels for this Python", allow_module_level=True)

from machines_mcp.chain.evm import calldata, digest, recover, typed_data
from machines_mcp.chain.order import COORDINATOR, Order
from machines_mcp.sandbox.chain.abi import call_data
from machines_mcp.sandbox.chain.artifacts import FILE
from machines_mcp.sandbox.chain.withdrawal import Terms, executor_signature
from tests.chain.contract_world import ADMIN, AMOUNT, EXECUTOR, RECIPIENT
from tests.chain.sandbox_chain import BASE, ETHEREUM, ChainCaller
from tests.peers.npm import installed, node_command
from tests.support.running_sandbox import running
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.check

PACKAGES = ("viem@2.57.20", "ethers@6.17.0", "@foundry-rs/anvil@1.7.1")
Wallet = Callable[..., Any]
Rpc = Callable[..., Any]


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return the folder of the packages, installed once per test run."""
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "wallets"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "wallet.mjs").exists():
            installed(shared, PACKAGES)
            # The program finds the packages beside itself.
            source = Path(__file__).with_name("wallet.mjs").read_text(encoding="utf-8")
            (shared / "wallet.mjs").write_text(source, encoding="utf-8")
    return shared / "node_modules"


@pytest.fixture(scope="module")
def wallet(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Wallet:
    """Return a function that runs the wallet's program and returns what it prints."""
    file = tmp_path_factory.mktemp("given") / "given.json"
    command = node_command(node_modules)

    def run(kit: str, verb: str, given: Any, *arguments: str) -> Any:
        file.write_text(json.dumps(given), encoding="utf-8")
        program = command(node_modules.parent / "wallet.mjs", kit, verb, file, *arguments)
        done = subprocess.run(program, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module")
def chain() -> Iterator[ChainCaller]:
    with running("--chain") as started:
        caller = ChainCaller(started)
        yield caller
        caller.close()


@pytest.mark.parametrize("network", [BASE, ETHEREUM])
@pytest.mark.parametrize("kit", ["viem", "ethers"])
def test_wallet_library_signs_and_sends_what_is_handed_to_it(
    chain: ChainCaller, wallet: Wallet, kit: str, network: int
) -> None:
    user = chain.partner.funded_user(100)
    order = chain.order(chain.withdraw(user, 1000, network))
    salts: tuple[bytes, ...] = ()
    signatures: tuple[bytes, ...] = ()
    if order.path == COORDINATOR:
        typed = typed_data(order, chain.key.address, 0, b"\x07" * 32)
        signed = wallet(kit, "sign", typed, chain.key.secret)
        signature = bytes.fromhex(signed["signature"][2:])
        assert signed["digest"] == f"0x{digest(typed).hex()}"
        assert recover(typed, signature) == chain.key.address
        salts, signatures = (b"\x07" * 32,), (signature,)
    transaction = {
        "from": chain.key.address,
        "to": order.target,
        "data": f"0x{calldata(order, salts, signatures).hex()}",
        "value": "0x0",
        "chainId": hex(network),
    }
    before = chain.balance(order.recipient, network), chain.balance(order.collateral, network)
    url = chain.sandbox.chains[str(network)]["rpc_url"]
    sent = wallet(kit, "send", transaction, chain.key.secret, url)
    assert (sent["succeeded"], sent["events"]) == (True, 2)
    after = chain.balance(order.recipient, network), chain.balance(order.collateral, network)
    assert after == (before[0] + order.amount, before[1] - order.amount)
    assert user.balances()["spendingPower"] == 9000


@pytest.fixture
def anvil(node_modules: Path) -> Iterator[Rpc]:
    """Return a function that calls anvil, a node that is none of ours."""
    system, machine = platform.system().lower(), platform.machine().lower()
    chip = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    program = node_modules / "@foundry-rs" / f"anvil-{system}-{chip}" / "bin" / "anvil"
    started = subprocess.Popen(
        [program, "--port", "0", "--chain-id", str(BASE), "--accounts", "1"], stdout=subprocess.PIPE, text=True
    )
    with httpx.Client(timeout=PATIENCE, trust_env=False) as http:
        try:
            assert started.stdout is not None
            address = next(line.split()[-1] for line in started.stdout if line.startswith("Listening on"))

            def call(method: str, *given: Any) -> Any:
                asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": given}
                answer = http.post(f"http://{address}", json=asked).json()
                assert "error" not in answer, answer
                return answer["result"]

            yield call
        finally:
            started.terminate()
            started.communicate(timeout=PATIENCE)


def mined(anvil: Rpc, transaction_hash: str) -> Any:
    """Return the receipt. anvil mines at once, though after it has answered."""
    deadline = time.monotonic() + PATIENCE
    while (receipt := anvil("eth_getTransactionReceipt", transaction_hash)) is None:
        assert time.monotonic() < deadline
    return receipt


def test_anvil_executes_a_plan_once_and_no_tampered_one(anvil: Rpc) -> None:
    codes = json.loads(FILE.read_text(encoding="utf-8"))
    (issuer,) = anvil("eth_accounts")

    def issue(to: str | None, data: str, value: str = "0x0") -> Any:
        fields = {"from": issuer, "data": data, "value": value} | ({} if to is None else {"to": to})
        receipt = mined(anvil, anvil("eth_sendTransaction", fields))
        assert receipt["status"] == "0x1"
        return receipt

    def deployed(contract: str, form: str, *values: Any) -> str:
        address: str = issue(None, codes[contract]["creation"])["contractAddress"]
        issue(address, f"0x{call_data(form, *values).hex()}")
        return address

    token = deployed("token", "initialize(address,string,string)", issuer, "rUSD", "rUSD")
    entry = deployed("coordinator", "initialize(address,address)", EXECUTOR.address, issuer)
    proxy = deployed("collateral", "initialize(address,address,uint256)", entry, issuer, 1)
    issue(proxy, f"0x{call_data('addAdmin(address)', ADMIN.address).hex()}")
    issue(token, f"0x{call_data('mint(address,uint256)', proxy, 5 * AMOUNT).hex()}")
    issue(ADMIN.address, "0x", hex(10**18))

    expires_at = int(anvil("eth_getBlockByNumber", "latest", False)["timestamp"], 16) + 1800
    terms = Terms(2, BASE, entry, ADMIN.address, proxy, token, AMOUNT, RECIPIENT, expires_at)
    salt = b"\x09" * 32
    order = Order(
        path=COORDINATOR,
        chain_id=BASE,
        target=entry,
        collateral=proxy,
        token=token,
        amount=AMOUNT,
        recipient=RECIPIENT,
        expires_at=expires_at,
        salt=salt,
        signature=executor_signature(EXECUTOR, terms, 0, salt),
    )
    signature = ADMIN.sign(digest(typed_data(order, ADMIN.address, 0, salt)))

    def send(what: Order) -> str:
        nonce = int(anvil("eth_getTransactionCount", ADMIN.address, "latest"), 16)
        raw = ADMIN.transaction(BASE, nonce, entry, calldata(what, (salt,), (signature,)))
        return str(mined(anvil, anvil("eth_sendRawTransaction", f"0x{raw.hex()}"))["status"])

    assert [send(replace(order, amount=2 * AMOUNT)), send(order), send(order)] == ["0x0", "0x1", "0x0"]
    balance = anvil(
        "eth_call", {"to": token, "data": f"0x{call_data('balanceOf(address)', RECIPIENT).hex()}"}, "latest"
    )
    assert int(balance, 16) == AMOUNT
