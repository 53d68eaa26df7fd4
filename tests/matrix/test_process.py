"""What a server process exposes besides its responses: files, environment, sealed state and caching hints."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from mcp.server.request_state import AESGCMRequestStateCodec

from machines_mcp.redaction.output_filter import OutputFilter
from machines_mcp.redaction.secret import Secret
from machines_mcp.storage.state_keys import state_key
from tests.matrix.test_channels import LEAKY, ask
from tests.support import server_process as process
from tests.support.cards_in import cards_in
from tests.support.server_process import ERAS, Era, Served, serving
from tests.support.stdio_client import applicant
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

LEAK = "harmless-7f3a-9c21"
USER = "matrix-user-1"
PERSON = applicant() | {
    "national_id": "TEST-73190642",
    "email": "grace.canary@example.com",
    "address_line1": "77 Canary",
}
PRIVATE = [str(PERSON[name]) for name in ("national_id", "email", "address_line1", "birth_date")]


@pytest.fixture(autouse=True)
def dialog(monkeypatch: pytest.MonkeyPatch) -> None:
    """Declare dialog support."""
    monkeypatch.setitem(process._HELLO, "capabilities", {"elicitation": {}})
    monkeypatch.setitem(process._ENVELOPE, "io.modelcontextprotocol/clientCapabilities", {"elicitation": {}})


async def call(served: Served, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool, accept its question if any, and return the result's object."""
    params: dict[str, Any] = {"name": tool, "arguments": {"user_id": USER, **arguments}}
    await served.send(process.request(served.era, "asked", "tools/call", params))
    while True:
        line = await served.message()
        if line.get("method") == "elicitation/create":
            accepted = {
                "jsonrpc": "2.0",
                "id": line["id"],
                "result": {"action": "accept", "content": {"decision": "approve"}},
            }
            await served.send(accepted)
        elif line.get("result", {}).get("resultType") == "input_required":
            answers = {"approve": {"action": "accept", "content": {"decision": "approve"}}}
            again = params | {"requestState": line["result"]["requestState"], "inputResponses": answers}
            await served.send(process.request(served.era, "asked", "tools/call", again))
        elif line.get("id") == "asked":
            return dict(json.loads(line["result"]["content"][0]["text"]))


async def with_a_card(served: Served) -> str:
    """Create a user with a card and return both ids."""
    assert (await call(served, "submit_kyc", **PERSON))["status"]
    assert (await call(served, "accept_agreements"))["accepted"] is True
    card: str = (await call(served, "create_card", label="Canary Groceries"))["card_id"]
    return card


def partner_key(folder: Path) -> str:
    """Return the partner key of the simulator that the server started."""
    (notes,) = folder.rglob("sandbox.json")
    return str(json.loads(notes.read_text("utf-8"))["partner_key"])


def written(folder: Path) -> Iterator[tuple[str, str]]:
    """Return the files the server wrote, as text, without those of the simulator."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith("sandbox"):
            yield path.name, path.read_bytes().decode("latin-1")


@pytest.mark.parametrize("era", ERAS)
async def test_killed_server_leaves_no_value_behind(tmp_path: Path, era: Era) -> None:
    async with serving(tmp_path, era) as served:
        card = await with_a_card(served)
        assert (await call(served, "reveal_card", card_id=card, sink="none"))["status"] == "verified"
        key = partner_key(tmp_path)
        served.process.send_signal(signal.SIGKILL)
        await served.ended()
        said = served.said_since((0, 0))
    files = dict(written(tmp_path / "state"))
    assert any(name.endswith("-wal") and text for name, text in files.items()), (
        "the scan must include the write-ahead log"
    )
    assert any(card in text for text in files.values()), "the scan must find values that may be kept"
    guard = OutputFilter()
    for secret in (*PRIVATE, key):
        guard.add_secret(Secret(secret))
    for name, text in [*files.items(), ("what it said", said)]:
        assert not guard.contains_secret(text), name
        assert not cards_in(text), name


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc to read a process's arguments")
async def test_no_process_starts_with_a_secret_and_the_vault_with_nothing(tmp_path: Path) -> None:
    seen: dict[str, tuple[str, str]] = {}

    def look(pid: int) -> None:
        for found in psutil.Process(pid).children(recursive=True):
            try:
                command = " ".join(found.cmdline())
                environment = Path(f"/proc/{found.pid}/environ").read_text("utf-8")
            except (psutil.Error, OSError):
                continue
            if " -m machines_mcp." in command:
                seen["vault" if "vault" in command else "sandbox"] = (command, environment)

    async def watch(pid: int) -> None:
        while True:
            look(pid)
            await anyio.sleep(0.002)

    async with serving(tmp_path, "2026-07-28") as served:
        card = await with_a_card(served)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch, served.process.pid)
            with anyio.fail_after(PATIENCE):
                while "vault" not in seen:
                    await call(served, "reveal_card", card_id=card, sink="none")
            tasks.cancel_scope.cancel()
        key = partner_key(tmp_path)
    assert seen.keys() == {"vault", "sandbox"}
    for command, environment in seen.values():
        for secret in (key, *PRIVATE, card):
            assert secret not in command
            assert secret not in environment
    assert {entry.partition("=")[0] for entry in seen["vault"][1].split("\0") if entry} <= {"LC_CTYPE"}


@pytest.mark.skipif(not hasattr(psutil.Process, "rlimit"), reason="needs /proc to read another process's limits")
async def test_server_and_simulator_can_not_dump_core(tmp_path: Path) -> None:
    async with serving(tmp_path, "2026-07-28") as served:
        await call(served, "create_session", purpose="kyc")
        server = psutil.Process(served.process.pid)
        for found in (server, *server.children(recursive=True)):
            assert found.rlimit(psutil.RLIMIT_CORE) == (0, 0), found.name()


async def test_sealed_state_holds_only_the_approval_id(tmp_path: Path) -> None:
    async with serving(tmp_path, "2026-07-28", command=LEAKY, LEAK=LEAK) as served:
        (line,) = await ask(served, "tools/call", {"name": "ask", "arguments": {}})
        sealed = line["result"]["requestState"]
    key = state_key(tmp_path / "state" / "embedded", "request-state")
    claims = json.loads(AESGCMRequestStateCodec([key]).unseal(sealed))
    assert len(claims["s"]) == 32
    assert LEAK in json.dumps(line["result"]["inputRequests"])
    assert LEAK not in json.dumps(claims)


LISTS = {
    "tools/list": {},
    "prompts/list": {},
    "resources/list": {},
    "resources/templates/list": {},
    "resources/read": {"uri": "machines://journey"},
    "server/discover": {},
}


async def test_cacheable_responses_are_private_and_only_constant_ones_stay_fresh(tmp_path: Path) -> None:
    async with serving(tmp_path, "2026-07-28") as served:
        for method, params in LISTS.items():
            result = (await ask(served, method, params))[-1]["result"]
            fresh = 0 if method == "resources/read" else 24 * 60 * 60 * 1000
            assert (result["cacheScope"], result["ttlMs"]) == ("private", fresh), method


@pytest.mark.parametrize("era", ERAS)
async def test_national_id_in_flight_is_withheld_wherever_it_appears(tmp_path: Path, era: Era) -> None:
    # Upstream repeats the id in its response, in a text that the tool displays without a check of its own.
    leaky = ("-m", "tests.matrix.echoing_server", "serve")
    async with serving(tmp_path, era, command=leaky) as served:
        params = {"name": "submit_kyc", "arguments": {"user_id": USER, **PERSON}}
        lines = await _asked(served, params)
        assert lines[-1]["result"]["isError"] is True
        told = json.loads(lines[-1]["result"]["content"][0]["text"])
        assert told["code"] == "output.blocked" and "outcome is recorded" in told["message"]
        assert [step["tool"] for step in told["next_steps"]] == ["get_kyc_status", "status"]
        assert PERSON["national_id"] not in served.said_since((0, 0))


async def _asked(served: Served, params: dict[str, Any]) -> list[dict[str, Any]]:
    await served.send(process.request(served.era, "asked", "tools/call", params))
    found = []
    while True:
        found.append(line := await served.message())
        if line.get("method") == "elicitation/create":
            accepted = {
                "jsonrpc": "2.0",
                "id": line["id"],
                "result": {"action": "accept", "content": {"decision": "approve"}},
            }
            await served.send(accepted)
        elif line.get("result", {}).get("resultType") == "input_required":
            answers = {"approve": {"action": "accept", "content": {"decision": "approve"}}}
            again = params | {"requestState": line["result"]["requestState"], "inputResponses": answers}
            await served.send(process.request(served.era, "asked", "tools/call", again))
        elif line.get("id") == "asked":
            break
    return found
