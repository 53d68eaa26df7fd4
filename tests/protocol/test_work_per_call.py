"""How often a tool's result is written, counted and not timed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mcp_types import methods
from mcp_types.version import LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION
from pydantic import BaseModel

from machines_mcp.protocol import written
from machines_mcp.redaction import output_filter
from tests.protocol.test_same_lines import by_us, lines_of, messages_of, tool_call

pytestmark = pytest.mark.anyio


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count dumps of models, results shaped by the SDK, and lines parsed for masks."""
    found: Counter[str] = Counter()

    def count(owner: Any, name: str, key: str) -> None:
        original = getattr(owner, name)

        def counting(*args: Any, **named: Any) -> Any:
            found[key] += 1
            return original(*args, **named)

        monkeypatch.setattr(owner, name, counting)

    count(BaseModel, "model_dump", "dumped")
    count(methods, "serialize_server_result", "shaped")
    count(output_filter, "from_json", "parsed")
    count(written, "write_result", "written")
    return found


@pytest.mark.parametrize("version", [LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION])
async def test_a_result_is_dumped_once_and_a_list_never_again(
    tmp_path: Path, counted: Counter[str], version: str
) -> None:
    async def work_of(*requests: tuple[str, dict[str, Any]], again: int) -> Counter[str]:
        counted.clear()
        await lines_of(tmp_path / str(again), by_us, messages_of(version, requests * again))
        return Counter(counted)

    for requests, work in ([tool_call("status")], {"dumped": 1}), ([("tools/list", {})], {}):
        once, more = await work_of(*requests, again=1), await work_of(*requests, again=11)
        assert {key: (more[key] - once[key]) / 10 for key in more if more[key] != once[key]} == work
