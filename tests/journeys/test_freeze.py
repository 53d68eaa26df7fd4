"""A freeze over stdio in both eras: the model is told, reads and locking go on, and a person's lift ends it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import open_guard
from machines_mcp.testing import decide
from tests.support.server_process import ERAS, Era, Served, serving
from tests.support.stdio_client import applicant

pytestmark = [pytest.mark.anyio, pytest.mark.check]


async def call(served: Served, tool: str, **arguments: Any) -> dict[str, Any]:
    found = await served.call(tool, arguments)
    return dict(json.loads(found["content"][0]["text"]))


@pytest.mark.parametrize("era", ERAS)
async def test_a_frozen_server_reads_and_changes_nothing(tmp_path: Path, era: Era) -> None:
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path / "state")}
    async with serving(tmp_path, era, MACHINES_USER_ID="user-1") as served:
        assert "session_id" in await call(served, "create_session", purpose="kyc")
        asked = await call(served, "submit_kyc", **applicant())
        assert await decide(env | {"MACHINES_USER_ID": "user-1"}, asked["approval_id"]) == "granted"
        again = {"approval_id": asked["approval_id"]}
        done = await call(served, "submit_kyc", **again)
        async with open_guard(read_settings(env)) as guard:
            await guard.freezes.freeze("terminal", "user-1")
        assert "code" not in done and await call(served, "submit_kyc", **again) == done
        for tool, arguments in {"create_session": {"purpose": "kyc"}, "create_card": {}, "submit_kyc": {}}.items():
            refused = await call(served, tool, **arguments)
            assert (refused["code"], refused["retryable"]) == ("policy.frozen", False)
            assert "machines-mcp unfreeze" in refused["message"]
        assert "code" not in await call(served, "get_kyc_status")
        (frozen,) = (await call(served, "status"))["frozen"]
        assert frozen.startswith("changes of the user “user-1”, since 20")
        async with open_guard(read_settings(env)) as guard:
            assert await guard.freezes.lift("terminal", None, "user-1") == "granted"
        assert "session_id" in await call(served, "create_session", purpose="kyc")
