"""Test what the demo says at its end. `make check` runs the demo itself."""

from __future__ import annotations

import pytest

from machines_mcp.cli.demo.scenes import SCENES
from machines_mcp.cli.demo.terminal import TerminalNarrator


def test_the_command_that_installs_stands_above_the_config(capsys: pytest.CaptureFixture[str]) -> None:
    narrator = TerminalNarrator(SCENES)
    card = {"last4": "1234", "expiration_month": 1, "expiration_year": 2030}
    for scene in SCENES:
        narrator.scene(scene, True, 1, card, "Done.")
    narrator.end(True, 1.0)
    shown = capsys.readouterr().out
    assert shown.index("install claude-desktop") < shown.index("Or add this") < shown.index('"mcpServers"')


def test_the_demo_says_who_approves() -> None:
    approved = {scene.tool for scene in SCENES if "the demo approves it" in scene.purpose}
    assert approved == {"submit_kyc", "accept_agreements", "create_card"}
