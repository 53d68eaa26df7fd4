"""The desk's address outlives the server that served it, as long as another has given it to somebody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.server_process import ERAS, Era, Served, serving
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
