"""The desk's address outlives the server that served it, as long as another has given it to somebody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from machines_mcp.cli.doctor.run import run_checks
from machines_mcp.storage.desk_note import port_taken
from machines_mcp.web.loopback import listen_on_loopback
from tests.support.server_process import ERAS, Era, Served, environment, serving
from tests.support.waiting import eventually_async

pytestmark = [pytest.mark.anyio, pytest.mark.check]

WALLET = "0x8617E340B3D01FA5F11F306F4090FD50E238070D"


async def ask(served: Served, user: str) -> dict[str, Any]:
    """Make a call that a person must approve, and return the error that says where."""
    found = await served.call("resolve_user", {"user_id": user, "wallet_address": WALLET})
    return dict(json.loads(found["content"][0]["text"]))


async def answers(url: str) -> bool:
    async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as http:
        try:
            return (await http.get(url)).status_code < 500
        except httpx.TransportError:
            return False


@pytest.mark.parametrize("era", ERAS)
async def test_the_desk_answers_at_the_same_address_after_its_server_was_killed(era: Era, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with serving(tmp_path, era) as first:
        one = await ask(first, "user-1")
        async with serving(other, era, MACHINES_STATE_DIR=str(tmp_path / "state")) as second:
            assert (await ask(second, "user-2"))["desk"] == one["desk"]
            first.process.kill()
            await first.ended()
            await eventually_async(lambda: answers(one["desk"]))
            again = await ask(second, "user-2")
    assert (again["code"], again["desk"]) == ("approval.required", one["desk"])


async def test_a_server_that_starts_in_the_moment_of_the_kill_gets_the_same_address(tmp_path: Path) -> None:
    for name in ("second", "third"):
        (tmp_path / name).mkdir()
    shared = {"MACHINES_STATE_DIR": str(tmp_path / "state")}
    async with serving(tmp_path, ERAS[1]) as first, serving(tmp_path / "second", ERAS[1], **shared) as second:
        one = await ask(first, "user-1")
        assert (await ask(second, "user-2"))["desk"] == one["desk"]
        async with serving(tmp_path / "third", ERAS[1], **shared) as third:
            await third.lives()
            first.process.kill()
            await first.ended()
            assert (await ask(third, "user-3"))["desk"] == one["desk"]
            assert (await ask(second, "user-4"))["desk"] == one["desk"]
            await eventually_async(lambda: answers(one["desk"]))


def free_port() -> int:
    with listen_on_loopback(1) as found:
        return int(found.getsockname()[1])


async def test_the_desk_is_at_the_fixed_port(tmp_path: Path) -> None:
    port = free_port()
    async with serving(tmp_path, ERAS[1], MACHINES_DESK_PORT=str(port)) as served:
        desk = (await ask(served, "user-1"))["desk"]
        assert urlsplit(desk).port == port
        assert await answers(desk)
        assert (await served.call("status"))["structuredContent"]["alarms"] == []


async def test_a_fixed_port_of_another_program_is_left_and_status_and_doctor_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listen_on_loopback(8) as stranger:
        port = int(stranger.getsockname()[1])
        settings = {"MACHINES_DESK_PORT": str(port)}
        async with serving(tmp_path, ERAS[1], **settings) as served:
            desk = (await ask(served, "user-1"))["desk"]
            assert urlsplit(desk).port != port
            assert await answers(desk)
            assert (await ask(served, "user-2"))["desk"] == desk
            assert (await served.call("status"))["structuredContent"]["alarms"] == [port_taken(port)]
            for name, value in environment(tmp_path / "state", HOME=str(tmp_path), **settings).items():
                monkeypatch.setenv(name, value)
            (finding,) = [each for each in await run_checks() if each.check == "desk"]
    assert finding.message == f"running at {desk}. {port_taken(port)}"
