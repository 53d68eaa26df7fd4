"""Run the whole journey as a demo, with an MCP client over stdio and the embedded simulator."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import anyio.to_thread
import mcp_types as types
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.client.stdio import StdioServerParameters, stdio_client

from machines_mcp.cli.demo.scenes import SCENES, USER, Results, Scene
from machines_mcp.cli.screen import emit


class Narrator(Protocol):
    """Reports the journey as it runs."""

    def scene(self, scene: Scene, ok: bool, ms: int, result: dict[str, Any], summary: str) -> None: ...

    def end(self, ok: bool, seconds: float) -> None: ...


class JsonNarrator:
    """Prints one line of JSON per call."""

    def scene(self, scene: Scene, ok: bool, ms: int, result: dict[str, Any], summary: str) -> None:
        step: int | list[int] = scene.steps[0] if len(scene.steps) == 1 else list(scene.steps)
        line = {"step": step, "tool": scene.tool, "ok": ok, "ms": ms, "result": result}
        emit(json.dumps(line, ensure_ascii=False))

    def end(self, ok: bool, seconds: float) -> None:
        """Print nothing: the last call is the last line."""


async def run_demo(*, as_json: bool, withdraw: bool = False) -> int:
    """Play the scenes and return the exit code: 0 if all succeeded, 1 after the first failure.

    With `withdraw`, a withdrawal on a chain of the simulator takes the place of the card.

    Raises:
        SandboxFailed: The simulator did not start with a chain.
    """
    begin = time.monotonic()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="machines-demo-"))
        errlog = stack.enter_context(_errors_kept())
        scenes = SCENES
        if withdraw:
            from machines_mcp.cli.demo.withdrawal import funded_wallet, simulator_of, withdrawal_scenes

            sandbox = simulator_of(Path(folder))
            stack.push_async_callback(sandbox.close)
            scenes = withdrawal_scenes(await funded_wallet(sandbox))
        narrator = _narrator(scenes, as_json=as_json)
        ok = await _play(scenes, narrator, folder, errlog)
    narrator.end(ok, time.monotonic() - begin)
    return 0 if ok else 1


def _narrator(scenes: Sequence[Scene], *, as_json: bool) -> Narrator:
    if as_json:
        return JsonNarrator()
    from machines_mcp.cli.demo.terminal import TerminalNarrator

    return TerminalNarrator(scenes)


async def _play(scenes: Sequence[Scene], narrator: Narrator, folder: str, errlog: Any) -> bool:
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "machines_mcp", "serve"],
        env={"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": folder, "MACHINES_USER_ID": USER},
    )
    results: Results = {}
    async with Client(stdio_client(server, errlog=errlog), elicitation_callback=_approve) as client:
        for scene in scenes:
            # In a thread: a wallet may sign and send in between.
            arguments = await anyio.to_thread.run_sync(scene.arguments, results)
            begin = time.monotonic()
            answer = await client.call_tool(scene.tool, arguments)
            ms = round((time.monotonic() - begin) * 1000)
            result = answer.structured_content or json.loads(getattr(answer.content[0], "text", "{}"))
            # The first text repeats the result, the second is its summary.
            failed = f"{result.get('code')}: {result.get('message')}"
            summary = failed if answer.is_error else getattr(answer.content[1], "text", "")
            narrator.scene(scene, not answer.is_error, ms, result, summary)
            if answer.is_error:
                return False
            results[scene.tool] = result
    return True


async def _approve(
    context: ClientRequestContext, params: types.ElicitRequestParams
) -> types.ElicitResult | types.ErrorData:
    # The demo also plays the person. In a desktop client, the user answers this dialog.
    return types.ElicitResult(action="accept", content={"decision": "approve"})


@contextmanager
def _errors_kept() -> Iterator[Any]:
    """Collect the server's stderr in a file and print it at the end, so that logs don't break the display."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        try:
            yield file
        finally:
            file.seek(0)
            sys.stderr.write(file.read())
