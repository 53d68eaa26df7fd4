"""Docs/testing.md lists the testing helpers, and its code runs."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import anyio
import pytest

from machines_mcp import testing
from machines_mcp.testing import ReadyUser, Simulator, ready_user
from tests.support.waiting import PATIENCE

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def names(heading: str) -> list[str]:
    section = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_every_helper_is_listed() -> None:
    functions = [name for name in testing.__all__ if inspect.isfunction(getattr(testing, name))]
    of_user = {field.name for field in dataclasses.fields(ReadyUser)}
    of_user |= {name for name in vars(ReadyUser) if not name.startswith("_")}
    assert sorted([*names("Clients and users"), *names("Decide approvals")]) == sorted([*functions, *of_user])
    assert names("Control the simulator") == [name for name in vars(Simulator) if not name.startswith("_")]


def test_every_name_of_the_package_is_on_the_page() -> None:
    for name in testing.__all__:
        if name not in ("Answer", "Era"):  # The page lists their values instead.
            assert f"`{name}`" in PAGE, name


@pytest.mark.anyio
@pytest.mark.check
async def test_the_code_on_the_page_runs() -> None:
    first, faults, decided = CODE
    found: dict[str, Any] = {}
    exec(compile(first, "testing.md", "exec"), found)  # noqa: S102
    with anyio.fail_after(PATIENCE):
        await found["test_a_card_pays_up_to_its_limit"]()
        await run(decided, ready_user=ready_user)
        async with ready_user() as user:
            await run(faults, user=user)
            seen = [await user.try_call(tool) for tool in ("get_agreements", "get_balances")]
            assert [answer["code"] for answer in seen] == ["not_found", "partner.malformed"]
            assert all(answer["code"] in faults for answer in seen)


async def run(code: str, **given: Any) -> None:
    """Run the lines as the body of an async function."""
    body = "\n".join(f"    {line}" for line in dedent(code).splitlines())
    found: dict[str, Any] = dict(given)
    exec(compile(f"async def lines():\n{body}", "testing.md", "exec"), found)  # noqa: S102
    await found["lines"]()
