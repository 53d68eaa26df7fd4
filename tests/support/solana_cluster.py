"""A fake node of a Solana cluster on loopback. It answers with what a test puts there."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream

from machines_mcp.chain.solana import SYSTEM_PROGRAM, SolanaWithdrawal
from tests.support.loopback import serve_connections
from tests.support.solana_world import EXECUTOR, TOKEN, collateral_data, coordinator_data, mint_data

MAINNET = "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"
BLOCKHASH = "EkSnNWid2cvwEVnVx9aBqawnmiCNiDgp3gUdkDPTKN1N"


def account(owner: object, data: bytes) -> dict[str, Any]:
    """Return an account as a node describes it."""
    text = base64.b64encode(data).decode()
    return {"owner": str(owner), "data": [text, "base64"], "lamports": 1, "executable": False, "rentEpoch": 0}


@dataclass
class FakeCluster:
    """The node's state. `answers` replaces the result of a method; `asked` are the methods so far."""

    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    answers: dict[str, Callable[[list[Any]], Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/key-in-the-path"

    def holds(self, withdrawal: SolanaWithdrawal) -> None:
        """Put the accounts of a withdrawal there, all but the recipient's token account."""
        self.accounts |= {
            str(withdrawal.collateral): account(withdrawal.program, collateral_data(withdrawal)),
            str(withdrawal.coordinator): account(withdrawal.program, coordinator_data([EXECUTOR.pubkey()])),
            str(withdrawal.mint): account(TOKEN, mint_data()),
            str(withdrawal.recipient): account(SYSTEM_PROGRAM, b""),
        }

    def result(self, method: str, params: list[Any]) -> Any:
        """Return what the node answers."""
        self.asked.append(method)
        if method in self.answers:
            return self.answers[method](params)
        context = {"slot": 7}
        match method:
            case "getGenesisHash":
                return MAINNET
            case "getAccountInfo":
                return {"context": context, "value": self.accounts.get(params[0])}
            case "getLatestBlockhash":
                return {"context": context, "value": {"blockhash": BLOCKHASH, "lastValidBlockHeight": 3_090}}
            case "simulateTransaction":
                return {"context": context, "value": {"err": None, "logs": []}}
        return None

    async def handle(self, stream: ByteStream) -> None:
        """Answer the requests of one connection."""
        received = BufferedByteReceiveStream(stream)
        while True:
            head = await received.receive_until(b"\r\n\r\n", 16_384)
            names = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
            asked = json.loads(await received.receive_exactly(int(names[b"content-length"])))
            found = self.result(asked["method"], asked["params"])
            body = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": found}).encode()
            start = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            await stream.send(start.encode() + body)


@asynccontextmanager
async def fake_cluster() -> AsyncIterator[FakeCluster]:
    """Run a node for the block."""
    cluster = FakeCluster()
    async with serve_connections(cluster.handle) as cluster.port:
        yield cluster
