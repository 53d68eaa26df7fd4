"""Memory: huge upstream responses do not make the client hold much."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from machines_mcp.partner.models.types import MAX_ROWS
from tests.faults import fault_responses, memory_reader
from tests.support.partner_upstream import PARTNER_KEY, Answer, ScriptedUpstream, good, http
from tests.support.waiting import PATIENCE

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs the peak memory of a process"),
]

MEGABYTE = 1024 * 1024
MAX_GROWN = 32 * MEGABYTE

HUGE: dict[str, tuple[Answer, str]] = {
    "a gigabyte": (fault_responses.gigabyte, "TooLarge"),
    "chunks without end": (fault_responses.endless_chunks, "TooLarge"),
    "gzip, said so": (fault_responses.gzip_bomb(marked=True), "Malformed"),
    "gzip, not said": (fault_responses.gzip_bomb(marked=False), "Malformed"),
    "a refusal of a gigabyte": (
        lambda stream: refused(stream, b"HTTP/1.1 404 X\r\nContent-Length: 1073741824\r\n\r\n"),
        "NotFound",
    ),
    "headers without end": (fault_responses.header_flood, "ConnectionLost"),
    "brackets without end": (http(200, fault_responses.with_data(b"[" * (2 * MEGABYTE - 100))), "Malformed"),
    "lists without end": (http(200, fault_responses.with_data(b'{"cards":[' + b"[]," * 690_000 + b"0]}")), "Malformed"),
    "lists to the limit": (http(200, fault_responses.with_data(b'{"cards":[' + b"[]," * 49_000 + b"0]}")), "Malformed"),
    "rows to the limit": (
        http(200, fault_responses.with_data(b'{"cards":[' + b"[]," * (MAX_ROWS - 1) + b"0]}")),
        "ok",
    ),
    "one long number": (http(200, fault_responses.with_data(b"1" * (2 * MEGABYTE - 100))), "Malformed"),
}


async def refused(stream: ByteStream, head: bytes) -> None:
    await stream.send(head)
    for _ in range(16_384):
        await stream.send(b"x" * 65536)


async def cost(api: ScriptedUpstream, reads: int) -> dict[str, Any]:
    """Return the cost of this many reads in a separate client process."""
    command = [sys.executable, "-m", "tests.faults.memory_reader", api.base_url, PARTNER_KEY, str(reads)]
    with anyio.fail_after(PATIENCE):
        done = await anyio.run_process(command, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.check
async def test_huge_response_is_neither_held_nor_waited_for(api: ScriptedUpstream) -> None:
    # A read with a broken connection is retried, so that fault comes last.
    script = sorted(HUGE.values(), key=lambda pair: pair[1] == "ConnectionLost")
    api.on(
        "GET", "/cards", *[good(fault_responses.CARDS)] * memory_reader.WARM_READS, *(answer for answer, _ in script)
    )
    found = await cost(api, len(script))
    assert found["ends"] == [end for _, end in script]
    assert found["grown"] <= MAX_GROWN
