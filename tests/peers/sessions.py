"""A session of each client in each era, with its own server process, and a check for processes left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import anyio

from tests.peers.features import LEGACY, MODERN, WHO
from tests.peers.inspector import PROGRAM, Inspector
from tests.peers.python_client import Session
from tests.support.processes import ProcessTree, process_tree
from tests.support.stdio_client import applicant
from tests.support.waiting import SHORTER_THAN_A_WAIT

Kind = Literal["python", "sdk", "client", "inspector"]
Node = Callable[..., Sequence[str]]

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("session.mjs")
SESSION_SECONDS = 100


@dataclass(frozen=True, slots=True)
class Peer:
    """A client in one era. `name` is the program with its version, as the matrix shows it."""

    kind: Kind
    name: str
    era: str


PEERS = (
    *(Peer("python", "Python `mcp` 2.3", era) for era in (LEGACY, MODERN)),
    Peer("sdk", "`@modelcontextprotocol/sdk` 1.32.2", LEGACY),
    *(Peer("client", "`@modelcontextprotocol/client` 2.4.0", era) for era in (LEGACY, MODERN)),
    *(Peer("inspector", "Inspector 2.12.0, command line", era) for era in (LEGACY, MODERN)),
)


async def observe(peer: Peer, state_dir: Path, node_modules: Path, node: Node) -> dict[str, Any]:
    """Return what the client observed, and under `left` the processes that outlived it."""
    plan = {
        "package": peer.kind,
        "era": peer.era,
        "modules": str(node_modules),
        "command": sys.executable,
        "args": ["-m", "machines_mcp", "serve"],
        # With CI set, no page opens in a browser on the test machine.
        "env": {"CI": "1", "MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(state_dir)},
        "cwd": str(ROOT),
        "who": WHO,
        "other": "peer-2",
        "applicant": applicant(),
    }
    with process_tree() as house:
        seen = await _session(peer, plan, node_modules, node)
        seen["left"] = await _left(house)
    return seen


async def _session(peer: Peer, plan: dict[str, Any], node_modules: Path, node: Node) -> dict[str, Any]:
    if peer.kind == "python":
        return await Session(plan).run()
    if peer.kind == "inspector":
        return await anyio.to_thread.run_sync(Inspector(node(node_modules / PROGRAM), plan).session)
    with anyio.fail_after(SESSION_SECONDS):
        done = await anyio.run_process(node(SCRIPT), input=json.dumps(plan).encode(), check=False, cwd=ROOT)
    if done.returncode != 0:
        raise subprocess.SubprocessError(done.stderr.decode())
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


async def _left(house: ProcessTree) -> list[str]:
    return await house.left_after(SHORTER_THAN_A_WAIT)
