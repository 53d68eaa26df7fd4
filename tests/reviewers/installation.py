"""The scanners' environment, and the tools as a client sees them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
from mcp import Client, StdioServerParameters, stdio_client
from pydantic import BaseModel

from tests.reviewers.recorded import ROOT
from tests.reviewers.scanners import SERVER, Lists
from tests.support.environments import VirtualEnvironment
from tests.support.waiting import PATIENCE


def programs(folder: Path) -> Path:
    """Install locks/scanners.txt into a new virtual environment, and return the folder of its programs."""
    made = VirtualEnvironment(folder)
    made.install_lock(ROOT / "locks" / "scanners.txt")
    return made.bin


async def lists(home: Path) -> Lists:
    """Return what a client sees of a server whose HOME is `home`."""
    command = StdioServerParameters(command=sys.executable, args=list(SERVER), env={"HOME": str(home)})
    with anyio.fail_after(PATIENCE):
        async with Client(stdio_client(command)) as client:
            seen: dict[str, Sequence[BaseModel]] = {
                "tools": (await client.list_tools()).tools,
                "prompts": (await client.list_prompts()).prompts,
                "resources": (await client.list_resources()).resources,
            }
    return {
        kind: [one.model_dump(mode="json", by_alias=True, exclude_none=True) for one in listed]
        for kind, listed in seen.items()
    }
