"""Every client sees in each era what it can, and leaves nothing behind; the kept matrix says the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers.features import FEATURES, row
from tests.peers.sessions import PEERS, ROOT, Peer, seen_by

pytestmark = [pytest.mark.anyio, pytest.mark.check]

KEPT = ROOT / "docs" / "clients.json"


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: f"{peer.kind}-{peer.era}")
async def test_a_client_sees_every_feature_that_it_can(
    peer: Peer, tmp_path: Path, node_modules: Path, node: Callable[..., list[str]]
) -> None:
    seen = await seen_by(peer, tmp_path / "state", node_modules, node)
    cells = row(seen, peer.era)
    assert [(name, [seen.get(need) for need in _needs(name)]) for name, cell in cells.items() if cell == "no"] == []
    assert seen.get("protocol") in (None, peer.era)
    assert json.loads(KEPT.read_text(encoding="utf-8"))[f"{peer.name}, {peer.era}"] == cells


def _needs(name: str) -> tuple[str, ...]:
    return next(feature.needs for feature in FEATURES if feature.name == name)
