"""Docs/clients.md matches the stored matrix, which covers every tested client and every feature."""

from __future__ import annotations

import json

from tests.docs.pages import ROOT, generator
from tests.peers.features import FEATURES
from tests.peers.sessions import PEERS

DOCS = ROOT / "docs"


def test_the_page_matches_the_stored_matrix() -> None:
    assert generator("clients_page").page() == (DOCS / "clients.md").read_text(encoding="utf-8"), "run `make docs`"


def test_the_matrix_covers_every_client_and_feature_without_a_no() -> None:
    kept = json.loads((DOCS / "clients.json").read_text(encoding="utf-8"))
    assert list(kept) == [f"{peer.name}, {peer.era}" for peer in PEERS]
    for cells in kept.values():
        assert list(cells) == [feature.name for feature in FEATURES]
        assert "no" not in cells.values()
