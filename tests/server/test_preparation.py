"""What a server loads while its client thinks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from machines_mcp.protocol import registry
from machines_mcp.server.app import App, opened
from machines_mcp.server.preparation import Preparation
from machines_mcp.server.settings import Settings
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.storage.database import StoreUnavailable
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

LATE = ("machines_mcp.protocol.dispatcher", "machines_mcp.permissions.factory", "machines_mcp.tools")


def settings(folder: Path) -> Settings:
    return read_settings({"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder)})


async def prepared(app: App) -> None:
    preparation = Preparation(app)
    preparation.begin()
    with anyio.fail_after(PATIENCE):
        await preparation.run()


async def test_a_prepared_server_builds_no_schema_for_its_first_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(settings(tmp_path)) as app:
        await prepared(app)
        assert (app.store.folder / "state.db").exists()
        monkeypatch.delattr(registry, "input_schema")
        monkeypatch.delattr(registry, "output_schema")

        assert len(app.load().registry.listing) == len(app.load().registry.usable_names)


async def test_preparation_waits_for_the_first_response(tmp_path: Path) -> None:
    async with opened(settings(tmp_path)) as app:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Preparation(app).run)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert not (app.store.folder / "state.db").exists()


async def test_a_request_during_preparation_loads_everything_once(tmp_path: Path) -> None:
    async with opened(settings(tmp_path)) as app:
        preparation = Preparation(app)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(preparation.run)
            preparation.begin()
            await anyio.wait_all_tasks_blocked()
            loaded = app.load()
            tool = loaded.registry.tools["status"]
            shown = loaded.registry.described(tool)
        assert app.load() is loaded
        assert loaded.registry.described(tool) is shown


async def test_an_unusable_state_folder_is_reported_by_the_request_that_needs_it(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    async with opened(settings(blocked / "state")) as app:
        await prepared(app)
        with pytest.raises(StoreUnavailable):
            app.load()


@pytest.mark.process
def test_a_server_object_needs_no_tools_nor_what_runs_them(tmp_path: Path) -> None:
    code = f"""
import sys
from machines_mcp.server import stdio
from machines_mcp.server.settings_reader import read_settings
stdio.App(read_settings({{"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": {str(tmp_path)!r}}})).server()
print(*sys.modules)
"""
    asked = [sys.executable, "-c", code]
    imported = subprocess.run(asked, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout.split()
    assert "machines_mcp.protocol.handlers" in imported
    assert [name for name in imported if name.startswith(LATE)] == []
