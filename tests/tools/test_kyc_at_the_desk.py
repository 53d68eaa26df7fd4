"""KYC with data entered by a person: what the model may send, and how it gets the form's outcome."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client

from machines_mcp.protocol.approval_arguments import NAMES
from machines_mcp.server.app import opened
from machines_mcp.server.settings_reader import read_settings
from tests.support.in_process import InProcessSandbox, in_process_sandbox
from tests.support.results import object_text
from tests.support.running_desk import FakeBrowser, forms
from tests.support.stdio_client import applicant
from tests.tools import golden

pytestmark = pytest.mark.anyio

POLICY = """
version = 1
environment = "embedded"
[classes]
read = "allow"
write = "allow"
identity = "{rule}"
[identity]
through_model = {through}
"""
OPTIONAL = {"address_line2", "phone_country_code", "phone_number"}


def policy(folder: Path, *, through: bool, rule: str = "ask") -> str:
    file = folder / "policy.toml"
    file.write_text(POLICY.format(through=str(through).lower(), rule=rule), encoding="utf-8")
    file.chmod(0o600)
    return str(file)


class KycCaller:
    """A client without a dialog. Errors are returned as their object."""

    def __init__(self, client: Client, sandbox: InProcessSandbox) -> None:
        self._client = client
        self.sandbox = sandbox

    async def submit(self, **arguments: Any) -> dict[str, Any]:
        return dict(json.loads(object_text(await self._client.call_tool("submit_kyc", arguments))))


@asynccontextmanager
async def calling(folder: Path, **settings: str) -> AsyncIterator[tuple[KycCaller, FakeBrowser]]:
    """Yield a caller on a simulator in this process, and a person with a browser."""
    given = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(folder), "MACHINES_USER_ID": "tool-user"} | settings
    async with (
        in_process_sandbox() as sandbox,
        opened(read_settings(given), embedded=sandbox) as app,
        Client(app.server()) as client,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        yield KycCaller(client, sandbox), FakeBrowser("", http)


async def submit_form(person: FakeBrowser, page: str, values: dict[str, Any]) -> httpx.Response:
    """Fill in the form at this address and submit it."""
    person.address, path = re.fullmatch(r"(http://127\.0\.0\.1:\d+/[a-p]{32})(/kyc/[0-9a-f]{32})", page).groups()  # type: ignore[union-attr]
    await person.get(path)
    return await person.post(path, {**values, "action": "send"})


async def test_partial_data_is_rejected_and_missing_fields_are_named(tmp_path: Path) -> None:
    async with calling(tmp_path) as (model, _):
        some = {name: applicant()[name] for name in ("first_name", "national_id")}
        error = await model.submit(**some)
    assert error["code"] == "input.invalid"
    assert {fault["field"] for fault in error["fields"]} == applicant().keys() - some.keys()
    assert all(fault["rule"] == "is required" for fault in error["fields"])
    assert "TEST-1906" not in str(error) and "Grace" not in str(error)


async def test_optional_data_alone_is_partial_data(tmp_path: Path) -> None:
    async with calling(tmp_path) as (model, _):
        assert (await model.submit(phone_number="5550100"))["code"] == "input.invalid"


@pytest.mark.parametrize("rule", ["ask", "allow"])
async def test_without_data_a_person_enters_it_and_the_repeated_call_returns(tmp_path: Path, rule: str) -> None:
    chosen = policy(tmp_path, through=True, rule=rule)
    async with calling(tmp_path / "state", MACHINES_POLICY=chosen) as (model, person):
        asked = await model.submit()
        assert (asked["code"], asked["page"] in asked["where"]) == ("approval.required", True)
        assert asked["message"].startswith("The user must fill in the identity form first.")
        waiting = await model.submit(approval_id=asked["approval_id"])
        assert (waiting["code"], waiting["page"]) == ("approval.required", asked["page"])
        assert (await submit_form(person, asked["page"], applicant() | {"email": "zz"})).status_code == 422
        assert (await submit_form(person, asked["page"], applicant())).status_code == 303
        done = await model.submit(approval_id=asked["approval_id"])
        assert done["status"] == "approved"
        assert not set(applicant().values()) & set(re.findall(r'"([^"]*)"', json.dumps(done)))
        # The same id never submits it twice.
        assert (await model.submit(approval_id=asked["approval_id"]))["status"] == "approved"
        again = await submit_form(person, asked["page"], applicant())
        assert again.status_code == 303
        assert "no longer open" in (await person.get(person.led_to(again))).text


async def test_identity_values_from_the_model_are_rejected_by_name_if_denied(tmp_path: Path) -> None:
    async with calling(tmp_path / "state", MACHINES_POLICY=policy(tmp_path, through=False)) as (model, person):
        for given in (applicant(), {"national_id": "TEST-1906"}, {"phone_number": "x"}):
            error = await model.submit(**given)
            assert error["code"] == "input.invalid"
            assert {fault["field"] for fault in error["fields"]} == given.keys()
            assert all("call without it" in fault["rule"] for fault in error["fields"])
            assert "TEST-1906" not in str(error)
        asked = await model.submit()
        assert (await submit_form(person, asked["page"], applicant())).status_code == 303
        assert (await model.submit(approval_id=asked["approval_id"]))["status"] == "approved"


async def test_schema_has_no_identity_fields_if_the_policy_denies_them(tmp_path: Path) -> None:
    (tool,) = [
        tool
        for tool in await golden.listed(MACHINES_POLICY=policy(tmp_path, through=False))
        if tool["name"] == "submit_kyc"
    ]
    assert tool["inputSchema"]["properties"].keys() == {"user_id", *NAMES}
    (open_tool,) = [tool for tool in await golden.listed() if tool["name"] == "submit_kyc"]
    assert open_tool["inputSchema"]["properties"].keys() == applicant().keys() | OPTIONAL | {"user_id", *NAMES}
    assert open_tool["inputSchema"]["required"] == ["user_id"]


async def test_form_rejected_by_machines_is_corrected_without_losing_data(tmp_path: Path) -> None:
    async with calling(tmp_path) as (model, person):
        asked = await model.submit()
        # Well-formed by this server's schema, but rejected by Machines.
        refused = await submit_form(person, asked["page"], applicant() | {"email": f"{'g' * 65}@example.com"})
        assert refused.status_code == 422
        assert "Email address was not accepted by Machines." in refused.text
        path = "/kyc/" + asked["approval_id"]
        assert forms(refused.text)[path]["national_id"] == applicant()["national_id"]
        assert (await model.submit(approval_id=asked["approval_id"]))["code"] == "approval.required"
        mended = {"email": "grace@example.com", "action": "send"}
        assert (await person.post(path, mended)).status_code == 303
        assert (await model.submit(approval_id=asked["approval_id"]))["status"] == "approved"


async def test_form_is_resubmitted_when_machines_is_unavailable(tmp_path: Path) -> None:
    async with calling(tmp_path) as (model, person):
        asked = await model.submit()
        assert (await submit_form(person, asked["page"], {})).status_code == 422
        await model.sandbox.control("/faults", kind="status", status=429, path="/kyc/applications", calls=9)
        failed = await submit_form(person, asked["page"], applicant())
        assert failed.status_code == 422 and "The form was not sent" in failed.text
        await model.sandbox.control("/faults/clear")
        assert (await person.post("/kyc/" + asked["approval_id"], {"action": "send"})).status_code == 303
        assert (await model.submit(approval_id=asked["approval_id"]))["status"] == "approved"
