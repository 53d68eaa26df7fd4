"""500 answers of a hostile API: none becomes a plan that moves money otherwise than a person approved."""

from __future__ import annotations

import copy
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from machines_mcp.chain import evm
from machines_mcp.chain.checks import PlanRequest
from machines_mcp.chain.faults import ChainFault
from machines_mcp.chain.order import Order, read_order
from tests.chain.answers import PROXY, TARGET, answer
from tests.chain.requests import APPROVED, RELAYED, FakeChain, plan, relay, request, signed

pytestmark = pytest.mark.anyio

ANSWERS = 500
Tamper = Callable[[random.Random, dict[str, Any]], None]


def address(chance: random.Random) -> str:
    return f"0x{chance.getrandbits(160):040x}"


def target_is_the_proxy(chance: random.Random, found: dict[str, Any]) -> None:
    found["execution"]["call_target"] = PROXY
    if chance.random() < 0.5:
        found["execution"]["controller_address"] = found["execution"]["coordinator_address"] = PROXY


def target_is_another(chance: random.Random, found: dict[str, Any]) -> None:
    other = address(chance)
    found["execution"] |= {"call_target": other, "controller_address": other, "coordinator_address": other}


def recipient_is_another(chance: random.Random, found: dict[str, Any]) -> None:
    found["parameters"][3] = address(chance)
    if found["relay"] is not None and chance.random() < 0.3:
        found["relay"]["payin_address"] = address(chance)


def amount_is_another(chance: random.Random, found: dict[str, Any]) -> None:
    amount = int(found["parameters"][2])
    other = chance.choice([amount * 100, amount // 100, amount + 1, amount * 10**12, chance.getrandbits(200) + 1])
    found["parameters"][2] = chance.choice([other, str(other)])


def relay_pays_another(chance: random.Random, found: dict[str, Any]) -> None:
    if found["relay"] is None:
        found["relay"] = relay(payin_address=found["parameters"][3], payout_address=address(chance))
        return
    key, value = chance.choice(
        [
            ("payout_address", address(chance)),
            ("payout_extra_id", "8"),
            ("to_currency", "doge"),
            ("to_network", "doge"),
            ("payin_extra_id", "1"),
        ]
    )
    found["relay"][key] = value


def token_is_another(chance: random.Random, found: dict[str, Any]) -> None:
    found["parameters"][1] = address(chance)


def collateral_is_another(chance: random.Random, found: dict[str, Any]) -> None:
    other = address(chance)
    found["parameters"][0] = other
    if chance.random() < 0.7:
        found["execution"]["collateral_proxy_address"] = other


def what_the_executor_signed_is_another(chance: random.Random, found: dict[str, Any]) -> None:
    kind = chance.randrange(3)
    if kind == 0:
        found["parameters"][4] += chance.randrange(1, 60)
    elif kind == 1:
        found["parameters"][5] = list(chance.randbytes(32))
    else:
        found["parameters"][6] = f"0x{chance.randbytes(65).hex()}"


def anything(chance: random.Random, found: dict[str, Any]) -> None:
    """Replace one value anywhere by junk."""
    place: Any = found
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = chance.choice([key for key in keys if key not in ("contract_id", "contract_version", "from_currency")])
        if not isinstance(place[key], dict | list) or not place[key] or chance.random() < 0.2:
            break
        place = place[key]
    junk: list[Any] = [None, True, -1, 2**70, 1e308, "", "0x", "1e6", "é\0", [], {}, [[]], address(chance), "x" * 5000]
    place[key] = chance.choice(junk)


TAMPERINGS: list[Tamper] = [
    target_is_the_proxy,
    target_is_another,
    recipient_is_another,
    amount_is_another,
    relay_pays_another,
    token_is_another,
    collateral_is_another,
    what_the_executor_signed_is_another,
    anything,
]


class SigningChain(FakeChain):
    """A chain whose contracts accept only the calldata of the orders that the executor signed."""

    def __init__(self, order: Order) -> None:
        super().__init__()
        self.accepts = lambda data: (
            not set(evm.differences(evm.decoded(data), order, (), ()))
            - {
                "admin_salt",
                "admin_signature",
            }
        )


async def outcome(given: PlanRequest, chain: FakeChain) -> str:
    """Return the class of the fault, or what the plan moves."""
    try:
        found = await plan(given, chain)
        if found.typed_data is not None:
            again = {name: getattr(given, name) for name in given.__slots__} | {"signature": signed(found.typed_data)}
            found = await plan(PlanRequest(**again), chain)
    except ChainFault as fault:
        return type(fault).__name__
    assert found.transaction is not None
    return f"a plan to {found.transaction['to']} with {found.transaction['data']}"


async def test_no_hostile_answer_becomes_another_plan() -> None:
    chance, seen = random.Random(15), Counter[str]()  # noqa: S311
    expected: dict[tuple[str, bool], str] = {}
    for number in range(ANSWERS):
        path, approved = chance.choice(["controller_v1", "coordinator_v2"]), chance.choice([APPROVED, RELAYED])
        right = answer(path, relay=relay() if approved is RELAYED else None)
        case = (path, approved is RELAYED)
        if case not in expected:
            expected[case] = await outcome(request(answer=right, approved=approved), SigningChain(read_order(right)))
            assert expected[case].startswith(f"a plan to {TARGET}")
        found = copy.deepcopy(right)
        tamper = TAMPERINGS[number % len(TAMPERINGS)]
        tamper(chance, found)
        production = chance.random() < 0.5
        given = request(answer=found, approved=approved, production=production)
        result = await outcome(given, SigningChain(read_order(right)))
        # What has no effect, such as the absence of a time that is said twice, changes no byte of the plan.
        assert result == expected[case] if result.startswith("a plan") else result
        assert tamper is anything or not result.startswith("a plan"), (tamper.__name__, number)
        seen[result.partition(" ")[0]] += 1
    assert seen["CheckFailed"] > ANSWERS / 2
    assert seen["a"] < ANSWERS / 20
