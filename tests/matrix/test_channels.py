"""A leak planted in each channel to the client, over stdio in both protocol eras.

A known secret is withheld and the alarm is audited. A text that looks like a card number is masked. A harmless text
comes through everywhere, which proves that the leaks are in place.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from machines_mcp.protocol.jsonrpc import BLOCKED
from machines_mcp.testing import decide
from tests.support import server_process as process
from tests.support.card_numbers import card_number
from tests.support.encoded import ENCODINGS
from tests.support.server_process import ERAS, Era, Served, serving
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

LEAKY = ("-m", "tests.matrix.leaky_server", "serve")
HARMLESS = "harmless-7f3a-9c21"
SECRET = "mst_Qw7rT2pLx9Vb4Nc8Kd1Z"

# The requests, by the channel of their response.
CHANNELS: dict[str, tuple[str, dict[str, Any]]] = {
    "a field": ("tools/call", {"name": "say", "arguments": {}}),
    "a field for ids": ("tools/call", {"name": "show", "arguments": {}}),
    "a next step": ("tools/call", {"name": "suggest", "arguments": {}}),
    "a progress notification": ("tools/call", {"name": "tell", "arguments": {}, "_meta": {"progressToken": 7}}),
    "an error's message": ("tools/call", {"name": "fail", "arguments": {"how": "refusal"}}),
    "an error's fields": ("tools/call", {"name": "fail", "arguments": {"how": "fault"}}),
    "an error's next step": ("tools/call", {"name": "fail", "arguments": {"how": "step"}}),
    "a question": ("tools/call", {"name": "ask", "arguments": {}}),
    "the list of tools": ("tools/list", {}),
    "the list of prompts": ("prompts/list", {}),
    "a prompt": ("prompts/get", {"name": "fund_account"}),
    "the list of resources": ("resources/list", {}),
    "a resource": ("resources/read", {"uri": "machines://leak"}),
    "a completion": (
        "completion/complete",
        {"ref": {"type": "ref/prompt", "name": "issue_card"}, "argument": {"name": "limit", "value": ""}},
    ),
}
# Never shown, whatever it contains. No exception text reaches the client.
SILENT = {
    "an exception": ("tools/call", {"name": "fail", "arguments": {"how": "exception"}}),
    "a group of exceptions": ("tools/call", {"name": "fail", "arguments": {"how": "group"}}),
    "a protocol error": ("tools/call", {"name": "fail", "arguments": {"how": "protocol"}}),
    "an unknown tool": ("tools/call", {"name": "{leak}", "arguments": {"{leak}": "{leak}"}}),
    "an unknown prompt": ("prompts/get", {"name": "{leak}", "arguments": {"{leak}": "{leak}"}}),
    "an unknown resource": ("resources/read", {"uri": "machines://{leak}?q={leak}"}),
    "an unknown card": ("resources/read", {"uri": "machines://users/u/cards/{leak}"}),
    "an unknown method": ("x/{leak}", {"q": "{leak}"}),
    "an unknown completion": (
        "completion/complete",
        {"ref": {"type": "ref/prompt", "name": "{leak}"}, "argument": {"name": "{leak}", "value": "{leak}"}},
    ),
    "an unknown log level": ("logging/setLevel", {"level": "{leak}"}),
}


@pytest.fixture
def dialog(monkeypatch: pytest.MonkeyPatch) -> None:
    """Declare dialog support."""
    monkeypatch.setitem(process._HELLO, "capabilities", {"elicitation": {}})
    monkeypatch.setitem(process._ENVELOPE, "io.modelcontextprotocol/clientCapabilities", {"elicitation": {}})


async def ask(served: Served, method: str, params: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every line up to the response, which is last. Questions on the way are declined."""
    given = json.loads(json.dumps(process.request(served.era, "asked", method, params)))
    given["params"]["_meta"] = {**given["params"].get("_meta", {}), **params.get("_meta", {})}
    await served.send(given)
    found = []
    while True:
        found.append(await served.message())
        if found[-1].get("id") == "asked" and "method" not in found[-1]:
            return found
        if found[-1].get("method") == "elicitation/create":
            answer = {"jsonrpc": "2.0", "id": found[-1]["id"], "result": {"action": "decline"}}
            await served.send(answer)


@pytest.fixture
async def started(tmp_path: Path, dialog: None) -> AsyncIterator[Any]:
    """Start leaky servers one after the other."""

    async with anyio.create_task_group():

        def start(era: Era, leak: str, **settings: str) -> Any:
            return serving(tmp_path, era, command=LEAKY, LEAK=leak, **settings)

        yield start


def alarms(folder: Path) -> list[str]:
    """Return the alarms in the audit of the single state folder."""
    (database,) = (path for path in folder.rglob("*.db") if not path.name.startswith("sandbox"))
    with closing(sqlite3.connect(database)) as db:
        return [code for (code,) in db.execute("SELECT code FROM audit WHERE kind = 'alarm'")]


@pytest.mark.parametrize("era", ERAS)
async def test_harmless_text_comes_through_every_channel(started: Any, era: Era) -> None:
    # This proves that the leaks are in place.
    async with started(era, HARMLESS) as served:
        for channel, (method, params) in CHANNELS.items():
            assert HARMLESS in json.dumps(await ask(served, method, params)), channel


@pytest.mark.parametrize("era", ERAS)
async def test_known_secret_leaves_by_no_channel_and_is_audited(started: Any, tmp_path: Path, era: Era) -> None:
    async with started(era, SECRET, LEAK_KNOWN="1") as served:
        for channel, (method, params) in CHANNELS.items():
            if channel == "a question":
                continue
            lines = await ask(served, method, params)
            if channel == "a progress notification":
                assert [line.get("method") for line in lines] == [None], "the notification must be dropped"
                assert lines[-1]["result"]["structuredContent"]["text"] == "told"
            elif method == "tools/call":
                assert _error(lines[-1])["code"] == "output.blocked", channel
            else:
                assert lines[-1]["error"] == BLOCKED, channel
        if era == "2026-07-28":  # in the older era, the handshake withheld it
            assert (await ask(served, "server/discover", {}))[-1]["error"] == BLOCKED
        await served.hang_up()
        await served.ended()
        said = served.said_since((0, 0))
    assert not [name for name, encode in ENCODINGS.items() if encode(SECRET) in said]
    assert alarms(tmp_path) == ["output_filter.exact"] * len(CHANNELS)


def _error(line: dict[str, Any]) -> dict[str, Any]:
    """Return the error object of a tool's result."""
    assert line["result"]["isError"] is True
    found: dict[str, Any] = json.loads(line["result"]["content"][0]["text"])
    return found


@pytest.mark.parametrize("era", ERAS)
async def test_withheld_result_of_a_payment_says_that_it_happened(tmp_path: Path, era: Era) -> None:
    call: dict[str, Any] = {"name": "pay", "arguments": {}}
    async with serving(tmp_path, era, command=LEAKY, LEAK=SECRET, LEAK_KNOWN="1") as served:
        waiting = _error((await ask(served, "tools/call", call))[-1])
        assert waiting["code"] == "approval.required"
        assert await decide(process.environment(tmp_path / "state"), waiting["approval_id"]) == "granted"
        again = call | {"arguments": {"approval_id": waiting["approval_id"]}}
        # The second repetition returns what is stored.
        for _ in range(2):
            told = _error((await ask(served, "tools/call", again))[-1])
            assert (told["code"], told["retryable"]) == ("output.blocked", False)
            assert "succeeded and its outcome is recorded" in told["message"]
            (step,) = told["next_steps"]
            seen = (await ask(served, "tools/call", {"name": step["tool"], "arguments": step["arguments"]}))[-1]
            assert "isError" not in seen["result"] or not seen["result"]["isError"]
        assert SECRET not in served.said_since((0, 0))
    assert alarms(tmp_path)
    stored = [path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert stored and not any(SECRET.encode() in content for content in stored)


@pytest.mark.parametrize("era", ERAS)
async def test_question_with_a_secret_is_not_asked(started: Any, tmp_path: Path, era: Era) -> None:
    async with started(era, SECRET, LEAK_KNOWN="1") as served:
        with anyio.fail_after(PATIENCE):
            method, params = CHANNELS["a question"]
            lines = await ask(served, method, params)
        assert len(lines) == 1
        assert SECRET not in served.said_since((0, 0))


@pytest.mark.parametrize("era", ERAS)
async def test_card_number_is_masked_in_every_channel(started: Any, tmp_path: Path, era: Era) -> None:
    number = card_number()
    async with started(era, number) as served:
        for channel, (method, params) in CHANNELS.items():
            lines = await ask(served, method, params)
            assert f"\u2022\u2022\u2022\u2022 {number[-4:]}" in json.dumps(lines, ensure_ascii=False), channel
            if channel == "a field for ids":
                assert lines[-1]["result"]["structuredContent"]["id"] == f"id-{number}"
        said = served.said_since((0, 0))
    assert number not in said.replace(f"id-{number}", "")


@pytest.mark.parametrize("leak", [SECRET, HARMLESS, "number"])
@pytest.mark.parametrize("era", ERAS)
async def test_client_supplied_values_and_exception_texts_are_not_repeated(started: Any, era: Era, leak: str) -> None:
    leak = card_number() if leak == "number" else leak
    async with started(era, leak, **({"LEAK_KNOWN": "1"} if leak == SECRET else {})) as served:
        mark = served.mark()
        for channel, (method, params) in SILENT.items():
            filled = json.loads(json.dumps(params).replace("{leak}", leak))
            (line,) = await ask(served, method.replace("{leak}", leak), filled)
            assert leak not in json.dumps(line), channel
        assert leak not in served.said_since(mark)


@pytest.mark.parametrize("era", ERAS)
async def test_stderr_at_debug_level_contains_no_value(started: Any, era: Era) -> None:
    async with started(era, HARMLESS, LEAK_DEBUG="1") as served:
        lines = await ask(served, "tools/call", {"name": "noise", "arguments": {}})
        assert lines[-1]["result"]["structuredContent"]["text"] == "made"
        for method, params in SILENT.values():
            filled = json.loads(json.dumps(params).replace("{leak}", HARMLESS))
            await ask(served, method.replace("{leak}", HARMLESS), filled)
        await served.send_bytes(HARMLESS.encode() + b"\n" + b'{"jsonrpc": "2.0", "id": "' + HARMLESS.encode() + b"\n")
        await served.lives()
        logged = served.said_on_stderr()
    assert "some_library" in logged
    assert "LookupError" in logged
    assert HARMLESS not in logged
