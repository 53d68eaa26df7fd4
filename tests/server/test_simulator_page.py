"""A server finds the page of its simulator, and says so only if there is one."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import httpx
import pytest

from machines_mcp.sandbox.app import API_PATH, CONTROL_PATH
from machines_mcp.server import simulator_page
from machines_mcp.server.app import opened
from machines_mcp.server.sandbox_process import SandboxProcess
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.simulator_page import find_simulator_page
from machines_mcp.testing.simulator_thread import start_thread
from tests.support.running_sandbox import Sandbox
from tests.support.waiting import PATIENCE, eventually_async

pytestmark = pytest.mark.anyio


async def find(folder: Path, **settings: str) -> str | None:
    with anyio.fail_after(PATIENCE):
        return await find_simulator_page(read_settings({"MACHINES_STATE_DIR": str(folder), **settings}))


async def test_embedded_simulator_has_a_page_while_it_runs(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert await find(state) is None
    assert not state.exists()
    simulator = SandboxProcess(state / "embedded", start_thread)
    with anyio.fail_after(PATIENCE):
        endpoint = await simulator.endpoint()
    try:
        page = await find(state)
        assert page == endpoint.control_url
        async with httpx.AsyncClient(trust_env=False) as http:
            shown = await http.get(page, headers={"Accept": "text/html"})
        assert (shown.status_code, "Machines simulator" in shown.text) == (200, True)
    finally:
        await simulator.close()

    async def ended() -> bool:
        return await find(state) is None

    # Looking for the page does not keep the simulator running.
    await eventually_async(ended)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"lease_port": "x"}', '{"lease_port": 1e9}'])
async def test_notes_that_name_no_simulator_give_no_page(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "embedded"
    folder.mkdir()
    (folder / "sandbox.json").write_text(text)
    assert await find(tmp_path) is None


async def test_notes_of_a_simulator_whose_port_is_another_programs_give_no_page(tmp_path: Path) -> None:
    folder = tmp_path / "embedded"
    simulator = SandboxProcess(folder, start_thread)
    with anyio.fail_after(PATIENCE):
        await simulator.endpoint()
    try:
        notes = folder / "sandbox.json"
        assert await find(tmp_path) is not None
        notes.write_text(json.dumps(json.loads(notes.read_text()) | {"instance": "0" * 32}))
        assert await find(tmp_path) is None
    finally:
        await simulator.close()


async def test_separate_simulator_is_known_by_its_key(tmp_path: Path, sandbox: Sandbox) -> None:
    given = {"MACHINES_ENV": "sandbox", "MACHINES_API_URL": sandbox.base_url, "MACHINES_USER_ID": "user-1"}
    assert await find(tmp_path, MACHINES_PARTNER_KEY=sandbox.partner_key, **given) == sandbox.control_url
    assert await find(tmp_path, MACHINES_PARTNER_KEY="mk_test_key_of_a_partner", **given) is None
    for other in ("https://127.0.0.1:4000/partner/v1", "http://127.0.0.1:4000/api"):
        assert (
            await find(tmp_path, MACHINES_PARTNER_KEY=sandbox.partner_key, **given | {"MACHINES_API_URL": other})
            is None
        )
    del given["MACHINES_API_URL"]
    assert await find(tmp_path, MACHINES_PARTNER_KEY=sandbox.partner_key, **given) is None


def test_paths_are_those_of_the_simulator() -> None:
    assert (simulator_page.API_PATH, simulator_page.CONTROL_PATH) == (API_PATH, CONTROL_PATH)


async def test_server_that_keeps_the_simulator_running_knows_its_page_without_a_look(tmp_path: Path) -> None:
    settings = read_settings({"MACHINES_STATE_DIR": str(tmp_path)})
    simulator = SandboxProcess(settings.state_dir, start_thread)
    with anyio.fail_after(PATIENCE):
        async with opened(settings, embedded=simulator) as app:
            assert await app.connection.simulator_page() is None
            await app.connection.client()
            (settings.state_dir / "sandbox.json").unlink()
            assert await app.connection.simulator_page() == (await simulator.endpoint()).control_url
