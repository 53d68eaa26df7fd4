"""Run every client once and keep the matrix: `python -m tests.peers`, then `make docs`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import anyio

from tests.peers.features import row
from tests.peers.npm import installed, node_command
from tests.peers.sessions import PEERS, ROOT, observe


async def _main() -> None:
    kept = {}
    with tempfile.TemporaryDirectory() as folder:
        modules = installed(Path(folder))
        for peer in PEERS:
            state = Path(folder) / f"state-{peer.kind}-{peer.era}"
            kept[f"{peer.name}, {peer.era}"] = row(await observe(peer, state, modules, node_command(modules)), peer.era)
    (ROOT / "docs" / "clients.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    anyio.run(_main)
