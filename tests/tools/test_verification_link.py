"""Where the user continues the identity check: the provider's link, or the desk's page that has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from machines_mcp.server.desk import ServerDesk
from machines_mcp.tools.kyc_reasons import OTHER
from tests.desk.test_identity_page import links
from tests.support.card_numbers import card_number
from tests.support.stdio_client import applicant
from tests.support.tool_caller import ToolCaller, caller

pytestmark = pytest.mark.anyio

LINK = "https://verify.example.com/check?session=" + "aB3-" * 375 + "&lang=en#start"
POLICY = """
version = 1
environment = "embedded"
[identity]
link_to_model = {}
"""


def policy(folder: Path, link_to_model: bool) -> Path:
    file = folder / "policy.toml"
    file.write_text(POLICY.format(str(link_to_model).lower()), encoding="utf-8")
    file.chmod(0o600)
    return file


async def upstream(c: ToolCaller, **fields: Any) -> None:
    """Have every response with a KYC status contain these fields."""
    steps = [{"op": "add", "path": f"/data/{name}", "value": value} for name, value in fields.items()]
    await c.control("/faults/clear")
    await c.control("/faults", kind="patch", path="/kyc/status", patch=steps, calls=1000)


@pytest.mark.parametrize("link_to_model", [None, True])
async def test_model_gets_the_whole_link_outside_production(tmp_path: Path, link_to_model: bool | None) -> None:
    chosen = None if link_to_model is None else policy(tmp_path, link_to_model)
    async with caller(tmp_path / "state", policy=chosen) as c:
        await c.call("submit_kyc", **applicant("Tester"))
        await upstream(c, completionLink=LINK)
        found = await c.call("get_kyc_status")
    assert found["verification_link"] == LINK
    assert "verification_link" in found["next_steps"][0]["why"]


async def test_policy_keeps_the_link_at_the_desk(tmp_path: Path) -> None:
    async with caller(tmp_path / "state", policy=policy(tmp_path, link_to_model=False)) as c:
        await c.call("submit_kyc", **applicant("Tester"))
        await upstream(c, completionLink=LINK, reason="Grace must try again")
        found = await c.call("get_kyc_status")
        assert "verify.example.com" not in json.dumps(found)
        assert (found["reason"], "verification_link" in found["next_steps"][0]["why"]) == (OTHER, True)
        async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as http:
            page = (await http.get(found["verification_link"])).text
    assert links(page) == [LINK]
    assert "Grace must try again" in page


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "http://verify.example.com/",
        "https://",
        "https://verify.example.com/?number={number}",
        "https://verify.example.com/?name=%48opper",
        "https://verify.example.com/hopper",
        "https://verify.example.com/" + "a" * 4_000,
    ],
)
async def test_desks_address_replaces_a_link_that_is_not_exact_or_says_too_much(tmp_path: Path, link: str) -> None:
    data = applicant("Tester") | {"last_name": "Hopper"}
    async with caller(tmp_path) as c:
        assert (await c.call("submit_kyc", **data))["status"] == "needs_verification"
        await upstream(c, completionLink=link.format(number=card_number()))
        found = await c.call("get_kyc_status")
    assert found["verification_link"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize("other", ["javascript:alert(1)", "http://verify.example.com/", "", None, {}, "https://"])
@pytest.mark.parametrize("first", ["completionLink", "externalVerificationLink"])
async def test_model_gets_the_link_that_a_person_may_open(tmp_path: Path, first: str, other: Any) -> None:
    second = ({"completionLink", "externalVerificationLink"} - {first}).pop()
    async with caller(tmp_path) as c:
        await c.call("submit_kyc", **applicant("Tester"))
        await upstream(c, **{first: other, second: LINK})
        assert (await c.call("get_kyc_status"))["verification_link"] == LINK


async def test_without_a_desk_the_next_step_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(self: ServerDesk, path: str = "") -> None:
        return None

    monkeypatch.setattr(ServerDesk, "address", none)
    async with caller(tmp_path / "state", policy=policy(tmp_path, link_to_model=False)) as c:
        await c.call("submit_kyc", **applicant("Tester"))
        found = await c.call("get_kyc_status")
    assert "machines-mcp desk --open" in found["next_steps"][0]["why"]
    assert "verification_link" not in found


@pytest.mark.parametrize("status", ["approved", "denied", "locked", "canceled", "not_submitted"])
async def test_nothing_to_do_means_no_link(tmp_path: Path, status: str) -> None:
    async with caller(tmp_path) as c:
        await c.call("submit_kyc", **applicant("Tester"))
        await upstream(c, status=status, completionLink=LINK)
        assert "verification_link" not in await c.call("get_kyc_status")


async def test_unknown_status_is_not_repeated(tmp_path: Path) -> None:
    async with caller(tmp_path) as c:
        await c.call("submit_kyc", **applicant("Tester"))
        await upstream(c, status="hopper_must_wait")
        found = await c.call("get_kyc_status")
    assert (found["status"], "hopper" in json.dumps(found)) == ("unrecognized", False)
