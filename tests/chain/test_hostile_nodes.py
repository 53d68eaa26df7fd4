"""A node that answers anything: plans and receipts fail with our own faults, or say only what they checked."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest

from machines_mcp.chain.faults import ChainFault
from machines_mcp.chain.order import read_order
from machines_mcp.chain.plan import make_plan
from machines_mcp.chain.receipts import confirm
from machines_mcp.chain.rpc import EvmRpc
from machines_mcp.redaction.secret import Secret
from tests.chain.answers import CHAIN, TARGET, TOKEN, answer
from tests.chain.fake_node import http, node
from tests.chain.requests import SENDER, request, salt_for, signed

pytestmark = pytest.mark.anyio

RUNS = 150
HASH = "0x" + "cd" * 32
# What may be right, so that an answer to one method is followed by others.
LIKELY: list[Any] = [hex(CHAIN), "0x", "0x" + "00" * 31 + "01", "0x" + "00" * 31 + "06", "0x" + "ff" * 32, HASH, None]


def junk(chance: random.Random, depth: int = 0) -> Any:
    """Return any JSON, at times with the names of a receipt."""
    kind = chance.randrange(9 if depth < 3 else 6)
    match kind:
        case 0 | 1 | 2:
            return chance.choice(LIKELY)
        case 3:
            return chance.choice([True, -1, 1.5, 2**300, "", "0x1", "0xg", "é", "canary", "execution reverted"])
        case 4:
            return f"0x{chance.randbytes(chance.randrange(70)).hex()}"
        case 5:
            return chance.choice([SENDER, TARGET, TOKEN])
        case 6:
            return [junk(chance, depth + 1) for _ in range(chance.randrange(4))]
    names = [
        "transactionHash",
        "hash",
        "input",
        "status",
        "blockNumber",
        "from",
        "to",
        "logs",
        "topics",
        "data",
        "code",
    ]
    return {name: junk(chance, depth + 1) for name in chance.sample([*names, "message", "address"], 7)}


async def test_a_node_that_answers_anything_causes_only_our_own_faults() -> None:
    chance, seen = random.Random(7), Counter[str]()  # noqa: S311
    typed = (await make_plan(request(given_nonce=1), None, salt_for)).typed_data
    assert typed is not None
    signature = signed(typed)

    async def any_answer(asked: dict[str, Any]) -> bytes:
        body = {"jsonrpc": "2.0", "id": asked["id"], "result": junk(chance)}
        if asked["method"] == "eth_chainId" and chance.random() < 0.9:
            body["result"] = hex(CHAIN)
        elif chance.random() < 0.2:
            body = {"id": asked["id"], "error": junk(chance)}
        return http(json.dumps(body).encode())

    async with node(any_answer) as url:
        for number in range(RUNS):
            rpc = EvmRpc(Secret(url), CHAIN)
            path = chance.choice(["controller_v1", "coordinator_v2"])
            try:
                if number % 2:
                    found = await confirm(read_order(answer(path)), SENDER, rpc, HASH)
                    seen[found.state] += 1
                else:
                    given = request(path, signature=chance.choice([None, signature]))
                    seen[(await make_plan(given, rpc, salt_for)).stage] += 1
            except ChainFault as fault:
                assert "canary" not in f"{fault!r} {fault} {fault.args}"
                assert (
                    fault.__context__ is None or fault.__suppress_context__ or isinstance(fault.__context__, ChainFault)
                )
                seen[type(fault).__name__] += 1
            finally:
                await rpc.aclose()
    assert seen["done"] == 0
    assert {"RpcUnavailable", "CheckFailed", "pending"} <= set(seen)
