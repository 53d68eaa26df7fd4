"""The pages a user opens, and the effect of their buttons."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import httpx
import pytest

from tests.support.sandbox_caller import KYC_SCOPES, SandboxClient, kyc_form

DECISIONS = (
    *("approved", "needs_information", "manual_review", "pending", "denied", "locked", "canceled"),
    *("not_submitted", "needs_verification"),
)


def waiting_person(partner: SandboxClient) -> tuple[str, str]:
    """Return a session token and the path of the page sent to its user."""
    token = partner.session(partner.new_user(), *KYC_SCOPES)
    data = partner.call("POST", "/kyc/applications", kyc_form(lastName="Smith"), token=token).data
    return token, data["completionLink"].removeprefix(partner.sandbox.origin)


def press(partner: SandboxClient, page: str, decision: str, **headers: str) -> httpx.Response:
    """Press a button as a browser does, with the page's origin unless `headers` override it."""
    return partner.raw("POST", page, data={"decision": decision}, headers={"Origin": partner.sandbox.origin} | headers)


class Outline(HTMLParser):
    """The elements that a screen reader announces."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.parametrize("decision", DECISIONS)
def test_button_records_its_decision(partner: SandboxClient, decision: str) -> None:
    token, page = waiting_person(partner)
    if decision == "needs_verification":
        press(partner, page, "denied")
    assert f'value="{decision}"' in partner.raw("GET", page).text
    response = press(partner, page, decision)
    assert (response.status_code, response.headers["location"]) == (303, page)
    assert partner.call("GET", "/kyc/status", token=token).data["status"] == decision
    after = partner.raw("GET", page)
    assert decision.replace("_", " ") in after.text
    assert f'value="{decision}"' not in after.text


def test_user_asked_for_more_returns_to_the_same_page(partner: SandboxClient) -> None:
    token, page = waiting_person(partner)
    press(partner, page, "needs_information")
    data = partner.call("GET", "/kyc/status", token=token).data
    assert data["completionLink"] is None
    assert data["externalVerificationLink"] == partner.sandbox.origin + page
    press(partner, page, "approved")
    assert partner.call("GET", "/kyc/status", token=token).data["status"] == "approved"


@pytest.mark.parametrize("decision", ["", "forgotten", "APPROVED", "<script>"])
def test_unknown_decision_has_no_effect(partner: SandboxClient, decision: str) -> None:
    token, page = waiting_person(partner)
    response = press(partner, page, decision)
    assert response.status_code == 400
    assert "<script>" not in response.text
    assert partner.call("GET", "/kyc/status", token=token).data["status"] == "needs_verification"


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}])
def test_page_of_another_origin_can_not_press_a_button(partner: SandboxClient, headers: dict[str, str]) -> None:
    token, page = waiting_person(partner)
    assert press(partner, page, "approved", **headers).status_code == 403
    assert partner.call("GET", "/kyc/status", token=token).data["status"] == "needs_verification"


def test_request_without_an_origin_can_not_press_a_button(partner: SandboxClient) -> None:
    token, page = waiting_person(partner)
    assert partner.raw("POST", page, data={"decision": "approved"}).status_code == 403
    assert partner.call("GET", "/kyc/status", token=token).data["status"] == "needs_verification"


def test_reason_is_always_shown_as_text(partner: SandboxClient) -> None:
    user_id = partner.new_user()
    partner.session(user_id, "kyc.read")
    partner.control("/kyc", {"userId": user_id, "decision": "needs_information", "reason": "<b>$style & more</b>"})
    link = partner.call("GET", "/kyc/status", token=partner.session(user_id, "kyc.read")).data[
        "externalVerificationLink"
    ]
    page = partner.raw("GET", link.removeprefix(partner.sandbox.origin)).text
    assert "Reason: &lt;b&gt;$style &amp; more&lt;/b&gt;." in page


@pytest.mark.parametrize("path", ["/verify/unknown", "/legal/unknown"])
def test_unknown_page_is_not_found_in_html(partner: SandboxClient, path: str) -> None:
    response = partner.raw("GET", path)
    assert response.status_code == 404
    assert "Page not found" in response.text
    assert press(partner, "/verify/unknown", "approved").status_code == 404


def test_page_has_no_scripts_or_requests_and_is_not_cached(partner: SandboxClient) -> None:
    _, page = waiting_person(partner)
    for path in (page, "/legal/privacy-notice", "/verify/unknown"):
        response = partner.raw("GET", path)
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self'" in policy
        style = re.search("<style>(.*?)</style>", response.text, re.DOTALL)
        assert style
        digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}'" in policy
        assert (response.headers["cache-control"], response.headers["referrer-policy"]) == ("no-store", "same-origin")
        assert not re.search("<script|<img|<link|style=|https?://", response.text)


def test_page_is_accessible_to_a_screen_reader(partner: SandboxClient) -> None:
    _, page = waiting_person(partner)
    outline = Outline(partner.raw("GET", page).text)
    assert outline.all("html")[0]["lang"] == "en"
    assert len(outline.all("h1")) == len(outline.all("main")) == len(outline.all("title")) == 1
    assert any(attributes.get("role") == "status" for _, attributes in outline.tags)
    identifiers = {attributes["id"] for _, attributes in outline.tags if "id" in attributes}
    assert len(outline.all("button")) == len(DECISIONS) - 1
    assert {button["aria-describedby"] for button in outline.all("button")} <= identifiers
    assert outline.all("form")[0]["aria-labelledby"] in identifiers
