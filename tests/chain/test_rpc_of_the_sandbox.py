"""JSON-RPC of the sandbox's chains: what wallets' libraries read and send, and what they get for a mistake."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

if sys.version_info >= (3, 13):
    pytest.skip("pyrevm has no wheels for this Python", allow_module_level=True)

from machines_mcp.sandbox.body import MAX_BODY
from machines_mcp.sandbox.chain.abi import topic
from machines_mcp.sandbox.chain.key import GAS_PRICE, Key
from machines_mcp.sandbox.chain.rpc import MAX_BATCH
from tests.chain.sandbox_chain import BASE, ETHEREUM, RECIPIENT, ChainCaller
from tests.support.running_sandbox import in_thread
from tests.support.wallets import wallet

UNUSED = Key(f"0x{99:064x}")
ZERO_HASH = "0x" + "00" * 32


@pytest.fixture(scope="module")
def chain() -> Iterator[ChainCaller]:
    with in_thread(chain=True) as started:
        caller = ChainCaller(started)
        yield caller
        caller.close()


@pytest.fixture(scope="module")
def sent(chain: ChainCaller) -> tuple[str, Any]:
    """Return the hash of a mined withdrawal of 10 dollars, and its response."""
    user = chain.partner.funded_user(100)
    data = chain.withdraw(user, 1000)
    mined = chain.rpc("eth_sendRawTransaction", chain.raw(chain.order(data)))
    return mined, data


def test_each_chain_has_its_own_id(chain: ChainCaller) -> None:
    for number in (BASE, ETHEREUM):
        assert chain.rpc("eth_chainId", chain=number) == hex(number)
        assert chain.rpc("net_version", chain=number) == str(number)


def test_contracts_and_the_wallet_are_there(chain: ChainCaller) -> None:
    for number, described in chain.sandbox.chains.items():
        (target,), (token,) = described["targets"], described["tokens"]
        for address in (target, token["address"]):
            assert len(chain.rpc("eth_getCode", address, "latest", chain=int(number))) > 1000
        assert chain.read(token["address"], "decimals()", chain=int(number)) == token["decimals"] == 6
        assert int(chain.rpc("eth_getBalance", chain.key.address, "latest", chain=int(number)), 16) > 10**17
    assert chain.sandbox.wallet["address"] == chain.key.address
    assert chain.rpc("eth_getCode", UNUSED.address, "latest") == "0x"
    assert chain.rpc("eth_getBalance", UNUSED.address, "latest") == "0x0"


def test_receipt_transaction_and_block_of_a_withdrawal(chain: ChainCaller, sent: tuple[str, Any]) -> None:
    mined, data = sent
    proxy, token, amount, *_ = data["parameters"]
    receipt = chain.rpc("eth_getTransactionReceipt", mined)
    assert (receipt["status"], receipt["transactionHash"], receipt["from"]) == ("0x1", mined, chain.key.address)
    assert receipt["to"].lower() == data["execution"]["callTarget"]
    transfer, withdrawal = receipt["logs"]
    assert transfer["address"] == token
    assert transfer["topics"] == [
        topic("Transfer(address,address,uint256)"),
        *(f"0x{address[2:]:0>64}" for address in (proxy, RECIPIENT)),
    ]
    assert int(transfer["data"], 16) == int(amount) == 10_000_000
    assert withdrawal["topics"][0] == topic("Withdrawal(address,address,address,uint256)")

    transaction = chain.rpc("eth_getTransactionByHash", mined)
    assert (transaction["hash"], transaction["blockNumber"]) == (mined, receipt["blockNumber"])
    assert transaction["input"].startswith("0x4b268241")
    block = chain.rpc("eth_getBlockByNumber", receipt["blockNumber"], False)
    assert (block["transactions"], block["hash"]) == ([mined], receipt["blockHash"])
    assert chain.rpc("eth_getBlockByHash", block["hash"], True)["transactions"] == [transaction]
    assert chain.rpc("eth_getBlockByNumber", hex(int(block["number"], 16) - 1), False)["hash"] == block["parentHash"]


def test_a_transaction_costs_a_fee_and_a_nonce(chain: ChainCaller) -> None:
    order = chain.order(chain.withdraw(chain.partner.funded_user(100), 1000))
    before = account(chain)
    mined = chain.rpc("eth_sendRawTransaction", raw := chain.raw(order))
    used = int(chain.rpc("eth_getTransactionReceipt", mined)["gasUsed"], 16)
    assert 60_000 < used < 250_000
    assert account(chain) == (before[0] - used * GAS_PRICE, before[1] + 1)
    assert chain.answer("eth_sendRawTransaction", raw)["error"]["message"] == "nonce too low"
    # A reverted one costs, too.
    mined = chain.rpc("eth_sendRawTransaction", chain.raw(order))
    reverted = chain.rpc("eth_getTransactionReceipt", mined)
    assert (reverted["status"], reverted["logs"]) == ("0x0", [])
    assert account(chain) == (before[0] - (used + int(reverted["gasUsed"], 16)) * GAS_PRICE, before[1] + 2)


def account(chain: ChainCaller) -> tuple[int, int]:
    """Return the wallet's coins and its nonce."""
    methods = ("eth_getBalance", "eth_getTransactionCount")
    coins, nonce = (int(chain.rpc(method, chain.key.address, "latest"), 16) for method in methods)
    return coins, nonce


def test_calls_and_estimates_have_no_effect_and_name_the_reason_of_a_revert(
    chain: ChainCaller, sent: tuple[str, Any]
) -> None:
    _, data = sent
    transaction = chain.rpc("eth_getTransactionByHash", sent[0])
    call = {"from": chain.key.address, "to": transaction["to"], "data": transaction["input"]}
    for method in ("eth_call", "eth_estimateGas"):
        error = chain.answer(method, call)["error"]
        assert (error["code"], error["message"]) == (3, "execution reverted: InvalidSignature")
        assert error["data"].startswith("0x08c379a0")
        assert chain.answer(method, call | {"from": UNUSED.address})["error"]["message"].endswith("Unauthorized")
    before = chain.balance(data["parameters"][0])
    assert (
        int(chain.rpc("eth_estimateGas", {"to": UNUSED.address, "from": chain.key.address, "value": "0x1"}), 16)
        > 21_000
    )
    assert chain.rpc("eth_getBalance", UNUSED.address, "latest") == "0x0"
    assert chain.balance(data["parameters"][0]) == before


@pytest.mark.parametrize("network", [BASE, ETHEREUM])
def test_estimate_is_enough_even_if_everything_is_withdrawn(chain: ChainCaller, network: int) -> None:
    """Emptying a balance refunds gas, which is needed until the end."""
    order = chain.order(chain.withdraw(chain.partner.funded_user(100), 10_000, network))
    data = f"0x{chain.call_data(order).hex()}"
    estimate = chain.rpc(
        "eth_estimateGas", {"from": chain.key.address, "to": order.target, "data": data}, chain=network
    )
    assert chain.send(order, gas=int(estimate, 16))


def test_fees_are_fixed(chain: ChainCaller) -> None:
    assert chain.rpc("eth_gasPrice") == hex(GAS_PRICE)
    assert chain.rpc("eth_maxPriorityFeePerGas") == "0x0"
    history = chain.rpc("eth_feeHistory", "0x1", "latest", [25, 75])
    assert history["reward"] == [["0x0", "0x0"]]
    assert history["baseFeePerGas"] == [hex(GAS_PRICE)] * 2


@pytest.mark.parametrize("kind", ["legacy", "typed"])
def test_both_kinds_of_transactions_are_taken(chain: ChainCaller, kind: str) -> None:
    signer, to = wallet(int(chain.key.secret, 16)), "0x" + ("5" if kind == "typed" else "6") * 40
    fees: dict[str, Any] = {"gasPrice": GAS_PRICE} if kind == "legacy" else {"maxFeePerGas": GAS_PRICE}
    fees |= {} if kind == "legacy" else {"maxPriorityFeePerGas": 0, "type": 2}
    fields: dict[str, Any] = {"chainId": BASE, "nonce": account(chain)[1], "to": to, "value": 5, "gas": 21_000} | fees

    def send(**changed: Any) -> Any:
        raw = bytes(signer.sign_transaction(fields | changed).raw_transaction)
        return chain.answer("eth_sendRawTransaction", f"0x{raw.hex()}")

    refused: dict[str, dict[str, Any]] = {
        "invalid chain id": {"chainId": 1},
        "nonce too high": {"nonce": fields["nonce"] + 1},
        "insufficient funds": {"value": 10**19},
        "intrinsic gas too low": {"gas": 20_999},
        "exceeds block gas limit": {"gas": 10**8},
        "max fee per gas": {("gasPrice" if kind == "legacy" else "maxFeePerGas"): 1},
    }
    for why, changed in refused.items():
        assert send(**changed)["error"]["message"].startswith(why)
    assert "result" in send()
    assert chain.rpc("eth_getBalance", to, "latest") == "0x5"


@pytest.mark.parametrize(
    ("method", "given", "code"),
    [
        ("eth_getLogs", [{}], -32601),
        ("eth_sendTransaction", [{}], -32601),
        ("eth_getBalance", [], -32602),
        ("eth_getBalance", ["0x12"], -32602),
        ("eth_getBalance", [["0x" + "11" * 20]], -32602),
        ("eth_call", [], -32602),
        ("eth_call", [{"to": "0x" + "11" * 20, "data": "zz"}], -32602),
        ("eth_call", [{"to": "0x" + "11" * 20, "value": -1}], -32602),
        ("eth_getTransactionReceipt", ["0x12"], -32602),
        ("eth_getBlockByNumber", ["next"], -32602),
        ("eth_getBlockByNumber", [["latest"]], -32602),
        ("eth_getBlockByNumber", [{"blockNumber": "0x1"}, False], -32602),
        ("eth_feeHistory", ["many", "latest", []], -32602),
        ("eth_feeHistory", ["0x1", [], []], -32602),
        ("eth_feeHistory", ["0x1", "latest", [0] * 101], -32602),
        ("eth_sendRawTransaction", ["0x"], -32000),
        ("eth_sendRawTransaction", ["0x02c0"], -32000),
        ("eth_sendRawTransaction", ["0x" + "ff" * 3000], -32000),
        (7, [], -32600),
        ("eth_chainId", {"a": 1}, -32600),
    ],
)
def test_mistake_is_a_json_rpc_error(chain: ChainCaller, method: Any, given: Any, code: int) -> None:
    asked = {"jsonrpc": "2.0", "id": "x", "method": method, "params": given}
    answered = chain.post(json.dumps(asked)).json()
    assert (answered["id"], answered["error"]["code"]) == ("x", code)


@pytest.mark.parametrize(
    ("body", "code"), [("", -32700), ("{", -32700), ("[" * 100_000, -32700), ("[]", -32600), ("7", -32600)]
)
def test_what_is_no_request_is_a_json_rpc_error(chain: ChainCaller, body: str, code: int) -> None:
    # The library that decodes transactions must not have lifted the limit of recursions.
    chain.answer("eth_sendRawTransaction", "0x")
    assert chain.post(body).json()["error"]["code"] == code


def test_batch_is_answered_in_order_and_bounded(chain: ChainCaller) -> None:
    asked = [{"jsonrpc": "2.0", "id": number, "method": "eth_chainId"} for number in range(3)] + ["x"]
    answers = chain.post(json.dumps(asked)).json()
    assert [(each["id"], "result" in each) for each in answers] == [(0, True), (1, True), (2, True), (None, False)]
    assert chain.post(json.dumps(asked[:1] * (MAX_BATCH + 1))).json()["error"]["code"] == -32600


def test_large_body_is_not_read(chain: ChainCaller) -> None:
    refused = chain.post(b" " * (MAX_BODY + 1))
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, -32600)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "evil.example"}, 403),
        ({"origin": "chrome-extension://nkbihfbeogaeaoehlefnkodbefgpgknn"}, 200),
        ({}, 200),
    ],
)
def test_web_pages_of_other_origins_are_refused_and_wallets_are_not(
    chain: ChainCaller, headers: dict[str, str], status: int
) -> None:
    asked = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"})
    assert chain.post(asked, headers=headers).status_code == status
    assert chain.partner.raw("GET", "/chain/84532").status_code == 405


def test_sandbox_without_a_chain_has_no_rpc(chain: ChainCaller) -> None:
    with in_thread() as started:
        assert (started.chains, started.wallet) == ({}, {})
        caller = ChainCaller(chain.sandbox).partner
        caller.sandbox = started
        assert caller.raw("POST", "/chain/84532", json={}).status_code == 404
        caller.close()
