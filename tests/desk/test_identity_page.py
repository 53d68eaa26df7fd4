"""The page with the provider's own words and link."""

from __future__ import annotations

import html
import re
from base64 import urlsafe_b64encode
from typing import Any

import pytest

from machines_mcp.desk.identity_page import identity_path
from machines_mcp.partner.errors import Unreachable
from tests.support.card_numbers import card_number
from tests.support.running_desk import PASSPHRASE, FakeBrowser, RunningDesk, browser, kyc_status

pytestmark = pytest.mark.anyio

PATH = f"/{identity_path('user-1')}"
OTHER = f"/{identity_path('user-2')}"
LINK = "https://verify.example.com/check?session=" + "aB3-" * 375 + "&lang=en#start"


@pytest.fixture(autouse=True)
async def known_user(desk: RunningDesk) -> None:
    await desk.guard.known_users.succeeded("user-1", changed=True)


def links(page: str) -> list[str]:
    return [html.unescape(found) for found in re.findall(r'href="(https?:[^"]*)"', page)]


async def test_page_shows_the_providers_words_and_the_exact_link(desk: RunningDesk, person: FakeBrowser) -> None:
    assert len(LINK) > 1500
    desk.partner.status = kyc_status(completionLink=LINK, reason="Grace <b>Brewster</b> is\u202e not on the document")
    page = (await person.get(PATH)).text
    assert links(page) == [LINK]
    assert "Grace &lt;b&gt;Brewster&lt;/b&gt; is not on the document" in page
    assert "Open the page at verify.example.com" in page
    assert 'rel="noopener noreferrer"' in page


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "http://verify.example.com/",
        "https://",
        "https:///path",
        "//verify.example.com",
        "data:text/html,x",
        "https://verify.example.com/a b",
        "https://verify.example.com\\@evil.example.com/",
        "https://verify.example.com@evil.example.com/",
        "https://verify.example.com/\u202egnp",
        " https://verify.example.com/",
        "HTTPS://verify.example.com:port/",
    ],
)
async def test_link_that_a_person_must_not_open_is_not_shown(desk: RunningDesk, person: FakeBrowser, link: str) -> None:
    desk.partner.status = kyc_status(externalVerificationLink=link)
    page = (await person.get(PATH)).text
    assert links(page) == []
    assert "it is not shown" in page


@pytest.mark.parametrize("other", ["javascript:alert(1)", "http://verify.example.com/", "", None, {}, 7])
@pytest.mark.parametrize("first", ["completionLink", "externalVerificationLink"])
async def test_page_shows_the_link_that_a_person_may_open(
    desk: RunningDesk, person: FakeBrowser, first: str, other: Any
) -> None:
    second = ({"completionLink", "externalVerificationLink"} - {first}).pop()
    desk.partner.status = kyc_status(**{first: other, second: LINK})
    page = (await person.get(PATH)).text
    assert links(page) == [LINK]
    assert "it is not shown" not in page


async def test_first_of_two_links_is_preferred(desk: RunningDesk, person: FakeBrowser) -> None:
    desk.partner.status = kyc_status(completionLink=LINK, externalVerificationLink=f"{LINK}2")
    assert links((await person.get(PATH)).text) == [LINK]


async def test_home_page_leads_to_the_checks_of_users_with_a_request(desk: RunningDesk, person: FakeBrowser) -> None:
    await desk.guard.known_users.succeeded("user-2", changed=True)
    await desk.ask(user_id="user-2")
    page = (await person.get("/")).text
    assert f'{OTHER}"' in page
    assert f'{PATH}"' not in page


async def test_user_who_may_not_exist_has_no_page(desk: RunningDesk, person: FakeBrowser) -> None:
    await desk.ask(user_id="user-2")
    assert f'{OTHER}"' not in (await person.get("/")).text
    assert (await person.get(OTHER)).status_code == 404


async def test_card_number_in_the_providers_words_is_masked(desk: RunningDesk, person: FakeBrowser) -> None:
    number = card_number()
    desk.partner.status = kyc_status("denied", reason=f"card {number}")
    assert f"card •••• {number[-4:]}" in (await person.get(PATH)).text


async def test_page_requires_signing_in_and_comes_back(desk: RunningDesk) -> None:
    desk.partner.status = kyc_status(completionLink=LINK)
    async with browser(desk, signed_in=False) as stranger:
        page = await stranger.get(PATH)
        assert (page.status_code, links(page.text)) == (401, [])
        answer = await stranger.post("/sign-in", {"passphrase": PASSPHRASE})
        assert stranger.led_to(answer) == PATH


@pytest.mark.parametrize("name", ["", "===", "_w", "-", urlsafe_b64encode(b"").decode()])
async def test_unknown_name_is_not_found(person: FakeBrowser, name: str) -> None:
    assert (await person.get(f"/identity/{name}")).status_code == 404


async def test_unreachable_machines_is_said(desk: RunningDesk, person: FakeBrowser) -> None:
    desk.partner.error = Unreachable()
    page = await person.get(PATH)
    assert (page.status_code, "Try again in a moment" in page.text) == (502, True)
