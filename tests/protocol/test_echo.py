"""Refused arguments appear in no response and no log, in either protocol era."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from machines_mcp.tools.catalog import TOOLS
from tests.support.server_process import Served, call

pytestmark = pytest.mark.anyio

NAMES = [tool.name for tool in TOOLS]


def _card_number(chance: Random) -> str:
    """Generate sixteen digits that pass the Luhn check."""
    digits = [4, *(chance.randrange(10) for _ in range(14))]
    doubled = (d * 2 - 9 * (d > 4) if position % 2 == 0 else d for position, d in enumerate(digits))
    return "".join(map(str, digits)) + str(-sum(doubled) % 10)


def _wrong(schema: dict[str, Any], canary: str, number: str) -> Iterator[Any]:
    """Yield invalid values for a field of this schema, each containing the canary or the number."""
    if schema["type"] == "string":
        yield from (int(number), [canary], {canary: number}, canary * 400)
        if "pattern" in schema or "enum" in schema:
            yield f"{canary} {number}\n"
    else:
        yield from (canary, number + "x", [number], {number: canary}, float(number) + 0.5)


def _junk(tool: dict[str, Any], canary: str, number: str) -> Iterator[dict[str, Any]]:
    fields = tool["inputSchema"]["properties"]
    # An unknown name in each call ensures that none of them is valid.
    unknown: dict[str, Any] = {number: canary, f"{canary} {number}": {canary: [number]}, canary: number, "": canary}
    yield unknown
    yield unknown | {"approval_id": f"{canary}{number}", "_meta": {canary: number}}
    yield unknown | {name: f"{canary}{number}" for name in fields}
    for position in range(5):
        wrong = {name: list(_wrong(schema, canary, number)) for name, schema in fields.items()}
        yield unknown | {name: values[position % len(values)] for name, values in wrong.items()}
    for name, schema in fields.items():
        yield unknown | {name: next(_wrong(schema, canary, number))}


@pytest.fixture
async def listed(served: Served) -> dict[str, Any]:
    tools = (await served.ask("tools/list"))["result"]["tools"]
    return {tool["name"]: tool for tool in tools}


@pytest.mark.parametrize("name", NAMES)
async def test_no_invalid_argument_is_repeated(served: Served, listed: dict[str, Any], name: str) -> None:
    chance = Random(name)  # noqa: S311
    canary, number = f"canary{chance.randrange(10**9)}Zq", _card_number(chance)
    mark = served.mark()
    calls = list(_junk(listed[name], canary, number))
    await served.send(*(call(served.era, position, name, junk) for position, junk in enumerate(calls)))
    for _ in calls:
        answer = (await served.message())["result"]
        assert answer["isError"] is True
        body = json.loads(answer["content"][0]["text"])
        assert body["code"] == "input.invalid"
        assert body["environment"] == "embedded"
        assert body["fields"]
    said = served.said_since(mark)
    assert canary not in said
    assert number not in said
    assert canary.lower() not in said.lower()


async def test_invalid_calls_are_refused_before_the_simulator_starts(served: Served) -> None:
    await served.call("submit_kyc", {"national_id": "1"})
    assert not list((served.stderr.parent / "state").rglob("sandbox*"))
