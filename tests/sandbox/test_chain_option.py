"""The option --chain: what the first line gains, what it refuses, and what a sandbox without it never loads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from machines_mcp.sandbox import __main__ as command
from machines_mcp.server.sandbox_endpoint import as_endpoint
from machines_mcp.testing import simulator
from tests.support.running_sandbox import ROOT, end, first_line
from tests.support.waiting import PATIENCE

NEEDS_EVM = pytest.mark.skipif(sys.version_info >= (3, 13), reason="pyrevm has no wheels for this Python")
LATE = ("pyrevm", "eth_account", "eth_abi", "eth_keys", "machines_mcp.sandbox.chain.")


@pytest.mark.check
@NEEDS_EVM
def test_first_line_has_the_chains_and_the_wallet() -> None:
    program = [sys.executable, "-m", "machines_mcp.sandbox", "--port", "0", "--chain"]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stdin=subprocess.PIPE, cwd=ROOT)
    try:
        first = json.loads(first_line(process))
    finally:
        process.terminate()
        end(process)
    assert process.returncode == 0
    plain = {"base_url", "partner_key", "control_url"}
    assert first.keys() == plain | {"rpc_url", "chain_id", "wallet", "chains"}
    assert first["wallet"].keys() == {"address", "private_key"}
    assert first["chain_id"] == 84_532
    assert first["chains"]["84532"]["rpc_url"] == first["rpc_url"]
    origin = first["base_url"].removesuffix("/partner/v1")
    assert {each["rpc_url"] for each in first["chains"].values()} == {f"{origin}/chain/{id}" for id in first["chains"]}
    endpoint = as_endpoint(first)
    assert set(endpoint.chains) == {84_532, 11_155_111}
    assert endpoint.wallet is not None
    assert endpoint.wallet.private_key.expose() == first["wallet"]["private_key"]


@pytest.mark.check
def test_sandbox_without_a_chain_loads_nothing_of_it() -> None:
    program = "import sys, machines_mcp.sandbox.process as p; print([n for n in sys.modules if n.startswith(LATE)])"
    run = [sys.executable, "-c", program.replace("LATE", repr(LATE))]
    done = subprocess.run(run, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("version", "platform", "machine", "named"),
    [
        ((3, 12), "linux", "x86_64", "extra sandbox-chain"),
        ((3, 11), "darwin", "arm64", "extra sandbox-chain"),
        ((3, 13), "linux", "x86_64", "3.11 or 3.12"),
        ((3, 12), "linux", "aarch64", "x86-64 Linux"),
    ],
)
def test_missing_evm_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    version: Any,
    platform: str,
    machine: str,
    named: str,
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert command.main(["--port", "0", "--chain"]) == 1
    written = capsys.readouterr()
    assert written.out == ""
    (line,) = written.err.splitlines()
    assert named in line
    assert line.endswith(".")


@pytest.mark.anyio
@NEEDS_EVM
async def test_embedded_simulator_has_chains_if_asked(tmp_path: Path) -> None:
    async with simulator(tmp_path, chain=True) as started:
        # A second server of the same folder finds them, too.
        async with simulator(tmp_path) as joined:
            assert joined.endpoint == started.endpoint
        chain, wallet = started.endpoint.chains[84_532], started.endpoint.wallet
    assert chain.rpc_url.startswith("http://127.0.0.1:")
    assert (len(chain.targets), list(chain.tokens.values())) == (1, [6])
    assert wallet is not None
    assert wallet.private_key.expose() not in repr(started.endpoint)
    async with simulator() as plain:
        assert (plain.endpoint.chains, plain.endpoint.wallet) == ({}, None)
