from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from machines_mcp.chain.faults import RpcUnavailable
from machines_mcp.chain.json_rpc import MAX_BYTES, JsonRpc, RpcRefused
from machines_mcp.chain.rpc import EvmRpc
from machines_mcp.chain.rpc_url import rpc_url_fault, shown_host
from machines_mcp.chain.rpc_values import Reverted
from machines_mcp.redaction.secret import Secret
from tests.chain.fake_node import Answer, error, http, node, result, scripted
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

HASH = "0x" + "ab" * 32
TO = "0x" + "33" * 20


async def fault_of(answer: Answer, *, seconds: float = PATIENCE) -> RpcUnavailable:
    async with node(answer) as url:
        rpc = EvmRpc(Secret(url), 84_532, seconds=seconds)
        with pytest.raises(RpcUnavailable) as caught:
            await rpc.code(TO)
        await rpc.aclose()
    shown = f"{caught.value} {caught.value!r} {caught.value.why}"
    assert "canary" not in shown
    assert "127.0.0.1" not in shown
    assert caught.value.__cause__ is caught.value.__context__ is None
    return caught.value


def always(response: bytes) -> Answer:
    async def answer(request: dict[str, Any]) -> bytes:
        return response

    return answer


def of_result(**changed: Any) -> Answer:
    """Answer with an envelope that differs from a right one."""

    async def answer(request: dict[str, Any]) -> bytes:
        envelope = {"jsonrpc": "2.0", "id": request["id"], "result": "0x14a34"} | changed
        return http(json.dumps({k: v for k, v in envelope.items() if v != "absent"}).encode())

    return answer


HOSTILE = [
    ("it is a node of another chain", of_result(result="0x1")),
    ("it is a node of another chain", of_result(result="0x" + "f" * 64)),
    ("its answer is too large", always(http(b'"' + b"a" * (10 * 2**20) + b'"'))),
    ("its answer is too large", always(http(b" " * (MAX_BYTES + 1)))),
    ("its answer is not JSON-RPC", always(http(b"<html>canary</html>"))),
    ("its answer is not JSON-RPC", always(http(b""))),
    ("its answer is not JSON-RPC", always(http(b"\xff\xfe\x00"))),
    ("its answer is not JSON-RPC", always(http(b"[" * 100_000))),
    ("its answer is not JSON-RPC", always(http(b'{"id":' + b"1" * 5000 + b"}"))),
    ("its answer is not JSON-RPC", always(http(b"[]"))),
    ("its answer is not JSON-RPC", always(http(b"{}"))),
    ("its answer is not JSON-RPC", always(http(b"{}", "500 Error"))),
    ("its answer is not JSON-RPC", always(http(b"\x1f\x8b", Content_Encoding="gzip"))),
    ("its answer is not JSON-RPC", of_result(id=999)),
    ("its answer is not JSON-RPC", of_result(id="absent")),
    ("its answer is not JSON-RPC", of_result(result="absent")),
    ("its answer is not JSON-RPC", of_result(result=84_532)),
    ("its answer is not JSON-RPC", of_result(result="84532")),
    ("its answer is not JSON-RPC", of_result(result="0x")),
    ("its answer is not JSON-RPC", of_result(result="0x" + "f" * 65)),
    ("its answer is not JSON-RPC", of_result(result=None)),
    ("its answer is not JSON-RPC", of_result(result=["0x14a34"])),
    ("it refused the request", of_result(error={"code": -32005, "message": "canary: over the limit"})),
    ("it refused the request", of_result(error="canary")),
    ("it answered with an HTTP error or a redirect", always(http(b"{}", "302 Found", Location="http://evil.example/"))),
    (
        "it answered with an HTTP error or a redirect",
        always(http(b"{}", "307 Temporary", Location="http://evil.example/")),
    ),
    ("it answered with an HTTP error or a redirect", always(http(b'{"canary":1}', "401 Unauthorized"))),
    ("it answered with an HTTP error or a redirect", always(http(b"", "204 No Content"))),
    ("it can't be reached", always(b"canary\r\n\r\n")),
    ("it can't be reached", always(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef")),
]


@pytest.mark.parametrize(("why", "answer"), HOSTILE)
async def test_a_hostile_node_is_unavailable_in_our_words(why: str, answer: Answer) -> None:
    with anyio.fail_after(PATIENCE):
        assert (await fault_of(answer)).why == why


async def test_a_node_that_closes_the_connection_can_not_be_reached() -> None:
    async def answer(request: dict[str, Any]) -> bytes:
        raise anyio.BrokenResourceError

    assert (await fault_of(answer)).why == "it can't be reached"


async def test_a_node_that_is_down_can_not_be_reached() -> None:
    async with node(scripted({})) as url:
        pass
    rpc = EvmRpc(Secret(url), 84_532)
    with pytest.raises(RpcUnavailable) as caught:
        await rpc.code(TO)
    await rpc.aclose()
    assert caught.value.why == "it can't be reached"


@pytest.mark.parametrize("begun", [False, True])
async def test_a_slow_node_ends_within_its_time(begun: bool) -> None:
    asked, done = anyio.Event(), anyio.Event()

    async def answer(request: dict[str, Any]) -> bytes:
        if begun:
            return b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"
        asked.set()
        await done.wait()
        return result(request, "0x14a34")

    with anyio.fail_after(PATIENCE):
        assert (await fault_of(answer, seconds=0.05)).why == "it did not answer in time"
    assert begun or asked.is_set()
    done.set()


async def test_the_chain_id_is_compared_before_anything_is_read_and_once() -> None:
    asked: list[str] = []

    async def answer(request: dict[str, Any]) -> bytes:
        asked.append(request["method"])
        return result(request, "0x14a34" if request["method"] == "eth_chainId" else "0x")

    async with node(answer) as url:
        rpc = EvmRpc(Secret(url), 84_532)
        assert await rpc.code(TO) == b""
        assert await rpc.call(TO, b"\1", sender=TO) == b""
        await rpc.aclose()
        other = EvmRpc(Secret(url), 8453)
        with pytest.raises(RpcUnavailable, match="another chain"):
            await other.call(TO, b"")
        await other.aclose()
    assert asked == ["eth_chainId", "eth_getCode", "eth_call", "eth_chainId"]


@pytest.mark.parametrize(
    ("said", "data"),
    [
        ({"code": 3, "message": "execution reverted", "data": "0x08c379a0"}, "08c379a0"),
        ({"code": -32000, "message": "execution reverted"}, ""),
        ({"code": -32015, "message": "VM execution error.", "data": "Reverted 0x8baa579f"}, "8baa579f"),
        ({"code": -32603, "message": "reverted", "data": {"data": "0x8baa579f"}}, "8baa579f"),
        ({"code": 3, "message": None, "data": 5}, ""),
        ({"code": 3, "data": "0x8ba"}, ""),
    ],
)
async def test_a_reverted_call_is_told_from_a_fault(said: Any, data: str) -> None:
    async def answer(request: dict[str, Any]) -> bytes:
        return result(request, "0x14a34") if request["method"] == "eth_chainId" else error(request, said)

    async with node(answer) as url:
        rpc = EvmRpc(Secret(url), 84_532)
        with pytest.raises(Reverted) as caught:
            await rpc.call(TO, b"")
        await rpc.aclose()
    assert caught.value.data.hex() == data


RECEIPT = {
    "transactionHash": HASH,
    "status": "0x1",
    "blockNumber": "0x10",
    "from": TO,
    "to": TO,
    "logs": [{"address": TO, "topics": [HASH], "data": "0x01"}],
}


@pytest.mark.parametrize(
    "changed",
    [
        {"transactionHash": "0x" + "cd" * 32},
        {"transactionHash": None},
        {"status": None},
        {"status": 1},
        {"blockNumber": "16"},
        {"from": None},
        {"to": "0x12"},
        {"logs": None},
        {"logs": {}},
        {"logs": [None]},
        {"logs": [{"address": TO, "topics": None, "data": "0x"}]},
        {"logs": [{"address": TO, "topics": [5], "data": "0x"}]},
        {"logs": [{"address": None, "topics": [], "data": "0x"}]},
        {"logs": [{"address": TO, "topics": [], "data": "0x1"}]},
    ],
)
async def test_a_receipt_is_typed(changed: dict[str, Any]) -> None:
    async with node(scripted({"eth_getTransactionReceipt": RECEIPT | changed})) as url:
        rpc = EvmRpc(Secret(url), 84_532)
        with pytest.raises(RpcUnavailable, match="not JSON-RPC"):
            await rpc.receipt(HASH)
        await rpc.aclose()


async def test_a_right_receipt_is_read_and_an_absent_one_is_none() -> None:
    async with node(
        scripted({"eth_getTransactionReceipt": lambda params: RECEIPT if params == [HASH] else None})
    ) as url:
        rpc = EvmRpc(Secret(url), 84_532)
        found = await rpc.receipt(HASH)
        assert found is not None
        assert (found.succeeded, found.block, found.sender, found.target) == (True, 16, TO, TO)
        assert [(log.address, log.topics, log.data) for log in found.logs] == [(TO, (b"\xab" * 32,), b"\1")]
        assert await rpc.receipt("0x" + "cd" * 32) is None
        await rpc.aclose()


@pytest.mark.parametrize("changed", [{"hash": "0x" + "cd" * 32}, {"hash": None}, {"input": None}, {"input": "12"}])
async def test_a_mined_transaction_is_typed(changed: dict[str, Any]) -> None:
    async with node(scripted({"eth_getTransactionByHash": {"hash": HASH, "input": "0x12"} | changed})) as url:
        rpc = EvmRpc(Secret(url), 84_532)
        with pytest.raises(RpcUnavailable, match="not JSON-RPC"):
            await rpc.mined_input(HASH)
        await rpc.aclose()


async def test_the_nodes_own_error_is_kept_from_the_message() -> None:
    async def answer(request: dict[str, Any]) -> bytes:
        return error(request, {"code": 1, "message": "canary"})

    async with node(answer) as url:
        rpc = JsonRpc(Secret(url))
        with pytest.raises(RpcRefused) as caught:
            await rpc.call("getSlot", [])
        await rpc.aclose()
    assert caught.value.error == {"code": 1, "message": "canary"}
    assert "canary" not in f"{caught.value} {caught.value!r}"


USABLE = [
    "https://mainnet.example/v3/0123456789abcdef",
    "https://mainnet.example:8443/?apikey=abc%20",
    "https://mainnet.example",
    "HTTPS://mainnet.example/",
    "http://127.0.0.1:8545",
    "http://localhost:8545/",
    "http://[::1]:8545/x",
]


@pytest.mark.parametrize("url", USABLE)
def test_a_node_is_https_or_on_this_machine(url: str) -> None:
    assert rpc_url_fault(url) is None
    assert shown_host(url) in ("mainnet.example", "127.0.0.1", "localhost", "[::1]")


@pytest.mark.parametrize(
    "url",
    [
        "http://mainnet.example/",
        "http://127.0.0.1@evil.example/",
        "https://user:word@mainnet.example/",
        "http://127.0.0.1.evil.example/",
        "http://127.0.0.1?@evil.example/",
        "http://127.0.0.1#@evil.example/",
        "http://evil.example\\@127.0.0.1/",
        "http://2130706433/",
        "http://10.0.0.1/",
        "https://mainnet.example:99999/",
        "https://mainnet.example/a b",
        "https://mainnet.example/\n",
        "https://mainnet.example/é",
        "wss://mainnet.example/",
        "file:///etc/passwd",
        "mainnet.example",
        "https://",
        "",
        "https://mainnet.example/" + "a" * 3000,
    ],
)
def test_no_other_address_is_a_node(url: str) -> None:
    assert rpc_url_fault(url) is not None
    with pytest.raises(ValueError, match="address must be an https URL"):
        EvmRpc(Secret(url), 1)
