"""The tool listing as clients receive it, stored so that a contract change shows in review.

`python -m tests.tools.golden` rewrites `golden/`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import anyio
from mcp import Client

from machines_mcp.server.app import opened
from machines_mcp.server.settings_reader import read_settings

FOLDER = Path(__file__).with_name("golden")


async def listed(mode: str = "2026-07-28", **settings: str) -> list[dict[str, Any]]:
    """Return the tools as a client of an embedded server receives them."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": folder} | settings
        async with opened(read_settings(chosen)) as app, Client(app.server(), mode=mode) as client:
            found = (await client.list_tools()).tools
    return [tool.model_dump(mode="json", by_alias=True, exclude_unset=True) for tool in found]


def text(tool: dict[str, Any]) -> str:
    """Return a tool in the form of its golden file."""
    return json.dumps(tool, ensure_ascii=False, indent=2) + "\n"


def write() -> None:
    """Write the current tools to the files."""
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.json"):
        path.unlink()
    for tool in anyio.run(listed):
        (FOLDER / f"{tool['name']}.json").write_text(text(tool), encoding="utf-8")


if __name__ == "__main__":
    write()
