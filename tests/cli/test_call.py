"""`machines-mcp call` filters what it prints as the server filters what it sends."""

from __future__ import annotations

from pathlib import Path

import pytest

from machines_mcp.cli.call import call_once
from machines_mcp.redaction.output_filter import OutputFilter
from machines_mcp.server.settings_reader import read_settings

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("tool", "says"), [("status", "changed nothing"), ("no_such_tool", "before you repeat it")])
async def test_withheld_result_is_an_error_that_says_what_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str, says: str
) -> None:
    monkeypatch.setattr(OutputFilter, "filtered", lambda self, line, exempt: None)
    settings = read_settings({"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(tmp_path)})
    told, succeeded = await call_once(settings, tool, {}, approves_all=False)
    assert (told["code"], succeeded) == ("output.blocked", False)
    assert says in told["message"]
