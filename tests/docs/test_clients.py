"""Docs/clients.md has the matrix that was kept, and the matrix has every feature and every client that is run."""

from __future__ import annotations

import json

from tests.docs.pages import ROOT, generator
from tests.peers.features import FEATURES
from tests.peers.sessions import PEERS

DOCS = ROOT / "docs"


def test_the_page_has_the_matrix_that_was_kept() -> None:
    assert generator("clients_page").page() == (DOCS / "clients.md").read_text(encoding="utf-8"), "run `make docs`"


def test_the_matrix_has_every_client_and_every_feature_and_no_gap() -> None:
    kept = json.loads((DOCS / "clients.json").read_text(encoding="utf-8"))
    assert list(kept) == [f"{peer.name}, {peer.era}" for peer in PEERS]
    for cells in kept.values():
        assert list(cells) == [feature.name for feature in FEATURES]
        assert "no" not in cells.values()
