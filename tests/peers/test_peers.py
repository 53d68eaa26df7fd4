"""Every client sees each feature that it supports, leaves no process behind, and matches the kept matrix."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.peers.features import FEATURES, row
from tests.peers.sessions import PEERS, ROOT, Peer, observe

pytestmark = [pytest.mark.anyio, pytest.mark.check]

KEPT = ROOT / "docs" / "clients.json"


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: f"{peer.kind}-{peer.era}")
async def test_client_sees_every_feature_it_supports(
    peer: Peer, tmp_path: Path, node_modules: Path, node: Callable[..., list[str]]
) -> None:
    seen = await observe(peer, tmp_path / "state", node_modules, node)
    cells = row(seen, peer.era)
    assert [(name, [seen.get(need) for need in _needs(name)]) for name, cell in cells.items() if cell == "no"] == []
    assert seen.get("protocol") in (None, peer.era)
    assert json.loads(KEPT.read_text(encoding="utf-8"))[f"{peer.name}, {peer.era}"] == cells


def _needs(name: str) -> tuple[str, ...]:
    return next(feature.needs for feature in FEATURES if feature.name == name)
