"""Texts of Machines on the desk's pages: a secret that the server knows is hidden wherever Machines repeats it."""

from __future__ import annotations

import base64
import html
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from machines_mcp.desk.identity_page import identity_path
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.redaction.secret import Secret
from tests.support.running_desk import FakeBrowser, RunningDesk, identity_form, kyc_status, kyc_values

pytestmark = pytest.mark.anyio

WRITINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "within words": lambda value: f"Zoo keeper {value} of the north",
    "base64": lambda value: base64.b64encode(f"x{value}yz".encode()).decode(),
    "base32": lambda value: base64.b32encode(value.encode()).decode(),
    "hexadecimal": lambda value: value.encode().hex(),
    "reversed": lambda value: value[::-1],
}
VALUES: dict[str, Callable[[str], Any]] = {
    "a field's name": lambda text: kyc_values({"name": f"f{text}"[:40], "required": False, "type": "string"}),
    "a field's description": lambda text: kyc_values(
        {"name": "taxResidence", "required": False, "type": "string", "description": text}
    ),
    "a field's list": lambda text: kyc_values(
        {"name": "taxResidence", "required": False, "type": "string", "enum": ["here", text]}
    ),
    "a list of its own": lambda text: kyc_values(annualSalary=["much", text]),
    "an occupation's label": lambda text: kyc_values(occupations=[{"code": "49-3023", "label": text}]),
    "an occupation's code": lambda text: kyc_values(occupations=[{"code": text, "label": "Mechanic"}]),
}
STATUSES: dict[str, Callable[[str], Any]] = {
    "the reason": lambda text: kyc_status("denied", reason=text),
    "the first link": lambda text: kyc_status(completionLink=f"https://verify.example.com/{text}"),
    "the second link": lambda text: kyc_status(externalVerificationLink=f"https://verify.example.com/?a={text}"),
}


@pytest.fixture
def secret(desk: RunningDesk) -> str:
    """A secret that the server knows, in letters and digits that a field's name can have."""
    value = f"pk{secrets.token_hex(14)}"
    desk.partner.output_filter.add_secret(Secret(value))
    return value


@pytest.mark.parametrize("writing", WRITINGS)
@pytest.mark.parametrize("place", VALUES)
async def test_the_form_hides_it(desk: RunningDesk, person: FakeBrowser, secret: str, place: str, writing: str) -> None:
    written = WRITINGS[writing](secret)
    desk.partner.values = VALUES[place](written)
    approval = await desk.ask(ActionClass.IDENTITY, identity_form(), tool="submit_kyc")
    page = html.unescape((await person.get(f"/kyc/{approval.id}")).text)
    assert "Date of birth" in page
    for shown in {written, written[:40], secret}:
        assert shown not in page and shown not in page.replace(" ", "_")


@pytest.mark.parametrize("writing", [writing for writing in WRITINGS if writing != "within words"])
@pytest.mark.parametrize("place", STATUSES)
async def test_the_status_of_a_check_hides_it(
    desk: RunningDesk, person: FakeBrowser, secret: str, place: str, writing: str
) -> None:
    await desk.guard.known_users.succeeded("user-1", changed=True)
    written = WRITINGS[writing](secret)
    desk.partner.status = STATUSES[place](written)
    page = html.unescape((await person.get(f"/{identity_path('user-1')}")).text)
    assert ("•••" if place == "the reason" else "it is not shown") in page
    assert written not in page and secret not in page
