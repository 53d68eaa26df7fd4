"""The main job, run for show: the whole journey by a real MCP client over stdio against the embedded simulator."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import mcp_types as types
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.client.stdio import StdioServerParameters, stdio_client

from machines_mcp.cli.demo.scenes import SCENES, USER, Results, Scene


class Narrator(Protocol):
    """Tells the journey as it goes."""

    def scene(self, scene: Scene, ok: bool, ms: int, result: dict[str, Any]) -> None: ...

    def end(self, ok: bool, seconds: float) -> None: ...


class JsonNarrator:
    """One JSON object per call, a line each."""

    def scene(self, scene: Scene, ok: bool, ms: int, result: dict[str, Any]) -> None:
        step: int | list[int] = scene.steps[0] if len(scene.steps) == 1 else list(scene.steps)
        line = {"step": step, "tool": scene.tool, "ok": ok, "ms": ms, "result": result}
        print(json.dumps(line, ensure_ascii=False), flush=True)

    def end(self, ok: bool, seconds: float) -> None:
        """Nothing follows the last call."""


async def run_demo(*, as_json: bool) -> int:
    """Play all scenes; 0 if each went well, else 1 after the first that did not."""
    if as_json:
        teller: Narrator = JsonNarrator()
    else:
        from machines_mcp.cli.demo.terminal import TerminalNarrator

        teller = TerminalNarrator(len(SCENES))
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="machines-demo-") as folder, _errors_kept() as errlog:
        ok = await _play(teller, folder, errlog)
    teller.end(ok, time.monotonic() - begin)
    return 0 if ok else 1


async def _play(teller: Narrator, folder: str, errlog: Any) -> bool:
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "machines_mcp", "serve"],
        env={"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": folder, "MACHINES_USER_ID": USER},
    )
    results: Results = {}
    async with Client(stdio_client(server, errlog=errlog), elicitation_callback=_say_yes) as client:
        for scene in SCENES:
            begin = time.monotonic()
            answer = await client.call_tool(scene.tool, scene.arguments(results))
            ms = round((time.monotonic() - begin) * 1000)
            result = answer.structured_content or json.loads(getattr(answer.content[0], "text", "{}"))
            teller.scene(scene, not answer.is_error, ms, result)
            if answer.is_error:
                return False
            results[scene.tool] = result
    return True


async def _say_yes(
    context: ClientRequestContext, params: types.ElicitRequestParams
) -> types.ElicitResult | types.ErrorData:
    # The demo plays the person too; in a desktop client this is the dialog that somebody answers.
    return types.ElicitResult(action="accept", content={})


@contextmanager
def _errors_kept() -> Iterator[Any]:
    """A file for the server's stderr, so that a log line does not run through the picture."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        try:
            yield file
        finally:
            file.seek(0)
            sys.stderr.write(file.read())
