"""Run the embedded Partner API as a separate process, and measure raw HTTP round trips to it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import Any

import httpx

from benchmarks.measure import Samples, turns
from benchmarks.wire import BenchmarkError, Command, Era, Wire, milliseconds_since

USER = "benchmark-user"
READS_A_ROUND = 100
EXIT_SECONDS = 5.0


class Sandbox:
    """`machines-mcp sandbox` on a free port, with extra options; a context manager that ends the process."""

    base_url: str
    partner_key: str
    control_url: str

    def __init__(self, *options: str) -> None:
        self._options = options

    def __enter__(self) -> Sandbox:
        command = [sys.executable, "-m", "machines_mcp.sandbox", "--port", "0", *self._options]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self._process.stdout
        first_line = self._process.stdout.readline()
        if not first_line:
            raise BenchmarkError("the sandbox did not start")
        about = json.loads(first_line)
        self.base_url, self.partner_key = about["base_url"], about["partner_key"]
        self.control_url = about["control_url"]
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()


class RawReader:
    """Reads the balances with one pooled `httpx.AsyncClient` and nothing else."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(base_url=sandbox.base_url, trust_env=False)
        partner = {"X-Partner-Key": sandbox.partner_key}
        self._ask("POST", "/users/resolve", partner, {"userId": USER})
        session = self._ask("POST", "/sessions", partner, {"userId": USER, "scopes": ["kyc.read"]})
        self._bearer = {"Authorization": f"Bearer {session['sessionToken']}"}

    def __enter__(self) -> RawReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    def read(self, times: int) -> list[float]:
        """Return the milliseconds that each of `times` reads took."""
        return self._runner.run(self._read(times))

    async def _read(self, times: int) -> list[float]:
        taken = []
        for _ in range(times):
            start = time.perf_counter()
            reply = await self._client.get("/balances", headers=self._bearer)
            taken.append(milliseconds_since(start))
            reply.raise_for_status()
        return taken

    def _ask(self, method: str, path: str, headers: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        reply = self._runner.run(self._client.request(method, path, headers=headers, json=body))
        reply.raise_for_status()
        data: dict[str, Any] = reply.json()["data"]
        return data


def measure_reads(server: Command, sandbox: Sandbox, era: Era, runs: int) -> tuple[Samples, Samples, float | None]:
    """Measure the tool `get_balances`, a raw read of the same balances (ms), and the server's peak memory (MB)."""
    tool, raw = Samples(), Samples()
    with Wire(server, era) as wire, RawReader(sandbox) as reader:
        wire.greet()
        for counted, samples in turns([tool, raw], runs):
            if samples is tool:
                taken = [_read_by_tool(wire) for _ in range(READS_A_ROUND)]
            else:
                taken = reader.read(READS_A_ROUND)
            if counted:
                samples.rounds.append(taken)
        return tool, raw, wire.peak_megabytes()


def _read_by_tool(wire: Wire) -> float:
    start = time.perf_counter()
    wire.ask("tools/call", {"name": "get_balances", "arguments": {}})
    return milliseconds_since(start)
