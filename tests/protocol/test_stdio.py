"""The server process's handling of valid and invalid input lines."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from tests.support.odd_server import CANARY
from tests.support.server_process import ODD_SERVER, Served, call, lines, request, serving

pytestmark = pytest.mark.anyio


def _text(result: dict[str, Any]) -> str:
    return str(result["structuredContent"]["text"])


async def test_status_needs_no_simulator(served: Served) -> None:
    found = (await served.call("status"))["structuredContent"]
    assert found["environment"] == "embedded"
    assert found["simulated"] is True
    names = {path.name for path in (served.stderr.parent / "state" / "embedded").glob("*")}
    assert not [name for name in names if name.startswith("sandbox")]


NOT_JSON: list[tuple[bytes, int | str | None]] = [
    (b"{", None),
    (b"canary-7f3a-9c21", None),
    (b'{"jsonrpc":"2.0","id":1,"method":"tools/list"', 1),
    (b'{"jsonrpc":"2.0","id":2,"method":"tools/list"}}', 2),
    (b"\xef\xbb\xbf{}", None),
    (b'{"jsonrpc":"2.0","id":3,"method":"\xff\xfe"}', 3),
    (b'{"jsonrpc":"2.0","id":4,"method":"ping","params":{"a":"\\ud800"}}', 4),
    (b'{"jsonrpc":"2.0","id":"five","method":"ping","params":{"a":' + b"1" * 5000 + b"}}", "five"),
    (b'{"method":"ping","params":{"a":' + b"[" * 5000 + b"]" * 5000 + b'},"jsonrpc":"2.0","id":6}', 6),
    (b'{"jsonrpc":"2.0","method":"ping","params":{"id":7,"a":"\\ud800"}}', None),
    (b'{"jsonrpc":"2.0","id":8,"result":{"action":"\\ud800"}}', None),
    (b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}', None),
    (b"[" * 5000 + b"]" * 5000, None),
]
NOT_RPC: list[tuple[bytes, int | str | None]] = [
    (b"[]", None),
    (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', None),
    (b'"canary-7f3a-9c21"', None),
    (b"null", None),
    (b"42", None),
    (b"{}", None),
    (b'{"jsonrpc":"1.0","id":5,"method":"ping"}', 5),
    (b'{"id":"x","method":"ping"}', "x"),
    (b'{"jsonrpc":"2.0","id":6}', 6),
    (b'{"jsonrpc":"2.0","id":7,"method":7}', 7),
    (b'{"jsonrpc":"2.0","id":8,"method":"ping","params":["canary-7f3a-9c21"]}', 8),
    (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', None),
    (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', None),
    (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', None),
    (b'{"jsonrpc":"2.0","id":["canary-7f3a-9c21"],"method":"ping"}', None),
    (b'{"jsonrpc":"2.0","id":9223372036854775808,"method":"ping"}', None),
    (b'{"jsonrpc":"2.0","id":' + b"9" * 4000 + b',"method":"ping"}', None),
    (b'{"jsonrpc":"1.0","id":' + b"9" * 4000 + b"}", None),
]


async def test_an_invalid_line_gets_constant_text_and_the_server_continues(served: Served) -> None:
    mark = served.mark()
    for line, number in NOT_JSON:
        await served.send(line)
        assert await served.message() == {
            "jsonrpc": "2.0",
            "id": number,
            "error": {"code": -32700, "message": "Parse error"},
        }, line[:80]
    for line, number in NOT_RPC:
        await served.send(line)
        assert await served.message() == {
            "jsonrpc": "2.0",
            "id": number,
            "error": {"code": -32600, "message": "Invalid request"},
        }, line[:80]
    await served.lives()
    assert CANARY not in served.said_since(mark)


REFUSED: list[tuple[str, dict[str, Any], set[int]]] = [
    (CANARY, {}, {-32601}),
    ("tools/canary-7f3a-9c21", {"name": CANARY}, {-32601}),
    ("tools/call", {}, {-32602}),
    ("tools/call", {"name": {CANARY: CANARY}}, {-32602}),
    ("tools/call", {"name": "status", "arguments": CANARY}, {-32602}),
    ("tools/call", {"name": "status", "arguments": [CANARY]}, {-32602}),
    ("tools/call", {"name": "create_card", "requestState": CANARY}, {-32602}),
    ("tools/call", {"name": "create_card", "inputResponses": CANARY}, {-32602}),
    ("tools/list", {"cursor": {CANARY: 1}}, {-32602}),
    ("prompts/get", {"name": CANARY}, {-32602}),
    ("prompts/get", {"name": "onboard_user", "arguments": {CANARY: [CANARY]}}, {-32602}),
    ("resources/read", {"uri": f"file:///{CANARY}"}, {-32602}),
    ("resources/read", {"uri": f"machines://users/{CANARY}/cards/{CANARY} "}, {-32602}),
    ("resources/subscribe", {"uri": f"machines://{CANARY}"}, {-32601, -32602}),
    ("completion/complete", {"ref": CANARY}, {-32602}),
    ("completion/complete", {"ref": {"type": "ref/prompt", "name": CANARY}, "argument": CANARY}, {-32602}),
    ("logging/setLevel", {"level": CANARY}, {-32601, -32602}),
    ("initialize", {"protocolVersion": CANARY}, {-32602, -32022}),
]


MESSAGES = {-32601: "Method not found", -32602: "Invalid params", -32022: "Unsupported protocol version"}


async def test_a_refused_request_is_repeated_nowhere(served: Served) -> None:
    mark = served.mark()
    for method, params, codes in REFUSED:
        error = (await served.ask(method, params))["error"]
        assert error["code"] in codes, (method, params, error)
        assert error["message"] == MESSAGES[error["code"]]
    result = await served.call(CANARY, {CANARY: CANARY})
    assert result["isError"] is True
    assert json.loads(result["content"][0]["text"])["code"] == "tool.unknown"
    await served.lives()
    assert CANARY not in served.said_since(mark)


async def test_an_approval_id_is_no_request_state_in_any_spelling(served: Served) -> None:
    linking = {"user_id": "user-1", "wallet_address": "0x" + "1" * 40}
    asked = json.loads((await served.call("resolve_user", linking))["content"][0]["text"])
    assert asked["code"] == "approval.required"
    accepted = {"approve": {"action": "accept", "content": {"decision": "approve"}}}
    for spelling, answers in (("requestState", "inputResponses"), ("request_state", "input_responses")):
        params = {"name": "resolve_user", "arguments": linking}
        found = await served.ask("tools/call", {**params, spelling: asked["approval_id"], answers: accepted})
        if "error" in found:
            assert found["error"] == {"code": -32602, "message": "Invalid params"}
        else:
            assert json.loads(found["result"]["content"][0]["text"])["code"] == "approval.required"


async def test_an_unsupported_version_is_refused_with_the_supported_ones(served: Served) -> None:
    # In 2025-11-25 the handshake sets the version, so a request that names one is invalid.
    handshake = served.era == "2025-11-25"
    for version, shown in (("2031-01-01", "2031-01-01"), (CANARY, "unknown"), ("4" * 16, "unknown")):
        asked = request("2026-07-28", "v", "tools/list")
        asked["params"]["_meta"] = asked["params"]["_meta"] | {"io.modelcontextprotocol/protocolVersion": version}
        await served.send(asked)
        error = (await served.message())["error"]
        if handshake:
            assert error == {"code": -32600, "message": "Invalid request"}
        else:
            assert error["code"] == -32022
            assert error["data"] == {"supported": ["2026-07-28"], "requested": shown}


@pytest.mark.parametrize("size", [5_000_000, 13_000_000])
async def test_a_huge_line_is_refused_once_and_later_lines_are_served(served: Served, size: int) -> None:
    head = b'{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"status","arguments":{"x":"'
    await served.send(head + b"x" * size + b'"}}}', call(served.era, "next", "status"))
    assert (await served.message())["error"]["code"] == -32700
    assert (await served.message())["id"] == "next"


async def test_lines_may_arrive_in_pieces_in_batches_and_with_crlf(served: Served) -> None:
    whole = lines(call(served.era, "pieces", "status"))
    for position in range(0, len(whole), 7):
        await served.send_bytes(whole[position : position + 7])
    assert (await served.message())["id"] == "pieces"
    heap = lines(*(call(served.era, number, "status") for number in range(20)))
    await served.send_bytes(b"\n  \r\n\n" + heap.replace(b"\n", b"\r\n"))
    assert {(await served.message())["id"] for _ in range(20)} == set(range(20))
    await served.send(call(served.era, 'é\u2028"\\', "status"))
    assert (await served.message())["id"] == 'é\u2028"\\'


async def test_two_hundred_concurrent_calls_are_all_answered(served: Served) -> None:
    await served.send(*(call(served.era, number, "status") for number in range(200)))
    found = [await served.message() for _ in range(200)]
    assert sorted(message["id"] for message in found) == list(range(200))
    assert not any(message["result"].get("isError") for message in found)


async def test_a_tools_prints_stay_off_the_wire(served: Served) -> None:
    mark = served.mark()
    assert _text(await served.call("chatter")) == "0 bytes of standard input"
    await served.lives()
    assert b"stray" not in served.stdout[mark[0] :]
    assert served.said_since(mark).count("stray") == 5


async def test_a_tools_exception_text_is_not_repeated(served: Served) -> None:
    mark = served.mark()
    result = await served.call("boom")
    assert json.loads(result["content"][0]["text"])["code"] == "internal"
    await served.lives()
    assert CANARY not in served.said_since(mark)
    assert "ValueError" in served.said_since(mark)


@pytest.mark.skipif(sys.platform == "win32", reason="pipes on the event loop are a POSIX promise")
@pytest.mark.check
async def test_a_client_that_pauses_reading_gets_everything_afterwards(tmp_path: Path) -> None:
    size, count = 100_000, 60
    asked = [call("2025-11-25", number, "write", {"characters": size}) for number in range(count)]
    async with serving(tmp_path, "2025-11-25", command=ODD_SERVER) as served:
        await served.call("write", {"characters": size})
        process = psutil.Process(served.process.pid)
        before = process.memory_info().rss
        sent = 0
        with anyio.move_on_after(1.0):
            for line in asked:
                sent += 1
                # The blanks fill the pipe, so the test notices when the server stops reading.
                await served.send_bytes(b" " * 15_000 + lines(line))
        assert sent < count
        assert process.memory_info().rss - before < 8_000_000
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(served.send, *asked[sent:])
            found = [(await served.message())["id"] for _ in range(count)]
    assert sorted(found) == list(range(count))
