"""Test which requests count as same-origin, and the security headers."""

from __future__ import annotations

import pytest

from machines_mcp.web.asgi import Scope
from machines_mcp.web.browser_security import (
    SameOrigin,
    constant_time_equal,
    has_origin,
    is_navigation,
    security_headers,
)

PORT = 4711
OWN = "http://127.0.0.1:4711"
OWN_PAGES = SameOrigin(PORT)


def request(*headers: tuple[str, str]) -> Scope:
    return {"type": "http", "headers": [(name.encode(), value.encode()) for name, value in headers]}


@pytest.mark.parametrize(
    ("hosts", "own"),
    [
        (["127.0.0.1:4711"], True),
        ([], False),
        (["127.0.0.1"], False),
        (["127.0.0.1:4712"], False),
        (["localhost:4711"], False),
        (["127.0.0.1:4711.example.com"], False),
        (["127.0.0.1:4711", "127.0.0.1:4711"], False),
        (["127.0.0.1:4711", "example.com"], False),
    ],
)
def test_only_the_exact_loopback_address_is_the_own_host(hosts: list[str], own: bool) -> None:
    assert OWN_PAGES.has_own_host(request(*(("host", host) for host in hosts))) is own


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ([("origin", OWN)], True),
        ([("origin", OWN), ("sec-fetch-site", "same-origin")], True),
        ([], False),
        ([("origin", "")], False),
        ([("origin", "null")], False),
        ([("origin", "http://127.0.0.1:1")], False),
        ([("origin", "http://localhost:4711")], False),
        ([("origin", "https://127.0.0.1:4711")], False),
        ([("origin", OWN), ("origin", OWN)], False),
        ([("sec-fetch-site", "same-origin")], False),
        ([("origin", OWN), ("sec-fetch-site", "none")], False),
        ([("origin", OWN), ("sec-fetch-site", "same-site")], False),
        ([("origin", OWN), ("sec-fetch-site", "cross-site")], False),
        ([("origin", OWN), ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin")], False),
    ],
)
def test_only_a_same_origin_request_submits_a_form(headers: list[tuple[str, str]], own: bool) -> None:
    assert OWN_PAGES.is_own_submission(request(*headers)) is own


@pytest.mark.parametrize(
    ("headers", "navigation"),
    [
        ([], True),
        ([("sec-fetch-site", "none")], True),
        ([("sec-fetch-site", "same-origin"), ("sec-fetch-dest", "image")], True),
        ([("sec-fetch-site", "cross-site")], False),
        ([("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")], False),
        ([("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")], True),
        ([("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")], False),
        ([("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "document")], False),
    ],
)
def test_cross_site_requests_are_allowed_only_as_navigation(headers: list[tuple[str, str]], navigation: bool) -> None:
    assert is_navigation(request(*headers)) is navigation


@pytest.mark.parametrize(
    ("origins", "present", "other"),
    [([], False, False), ([OWN], True, False), (["null"], True, True), (["https://example.com"], True, True)],
)
def test_an_origin_header_is_absent_own_or_foreign(origins: list[str], present: bool, other: bool) -> None:
    scope = request(*(("origin", origin) for origin in origins))
    assert (has_origin(scope), not OWN_PAGES.has_no_other_origin(scope)) == (present, other)


def test_security_headers_block_every_unnamed_source() -> None:
    headers = dict(security_headers(sources="style-src 'self'", referrer="same-origin", permissions="camera=()"))
    assert headers == {
        b"content-security-policy": (
            b"default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        ),
        b"cache-control": b"no-store",
        b"referrer-policy": b"same-origin",
        b"x-content-type-options": b"nosniff",
        b"x-frame-options": b"DENY",
        b"cross-origin-opener-policy": b"same-origin",
        b"cross-origin-resource-policy": b"same-origin",
        b"permissions-policy": b"camera=()",
    }


@pytest.mark.parametrize(("given", "equal"), [("token", True), ("tokem", False), ("", False), ("t\udcff", False)])
def test_any_text_compares_with_a_token_in_constant_time(given: str, equal: bool) -> None:
    assert constant_time_equal(given, "token") is equal
