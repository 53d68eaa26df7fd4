"""Test that another site, a rebound name or a program without the passphrase can do nothing at the desk."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
import httpx
import pytest

from machines_mcp.desk.request_guard import MAX_BODY_BYTES
from tests.support.running_desk import PASSPHRASE, FakeBrowser, RunningDesk, browser, forms
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ready(desk: RunningDesk, person: FakeBrowser) -> tuple[str, dict[str, str]]:
    """Return a complete form of a waiting approval. Only the request's origin remains to be checked."""
    approval = await desk.ask()
    await person.get()
    path = f"/decisions/{approval.id}"
    return path, forms(person.page)[path] | {"decision": "approve", "passphrase": PASSPHRASE}


async def undecided(desk: RunningDesk) -> bool:
    return [approval.state for approval in await desk.guard.approvals.recent(9)] == ["waiting"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "desk.example.com"}, 421),
        ({"Host": "localhost:{port}"}, 421),
        ({"Host": "127.0.0.1"}, 421),
        ({"Host": "127.0.0.1:{port}.example.com"}, 421),
        ({"Origin": "https://example.com"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://localhost:{port}"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "none"}, 403),
        ({"Content_Type": "text/plain"}, 403),
        ({"Content_Type": "multipart/form-data; boundary=x"}, 403),
        ({"Content_Type": "application/json"}, 403),
    ],
)
async def test_a_form_from_another_origin_decides_nothing(
    desk: RunningDesk, person: FakeBrowser, ready: tuple[str, dict[str, str]], headers: dict[str, str], status: int
) -> None:
    port = str(urlsplit(desk.address).port)
    changed: dict[str, Any] = {name: value.replace("{port}", port) for name, value in headers.items()}
    answer = await person.post(*ready, **changed)
    assert answer.status_code == status
    assert await undecided(desk)
    # Without the change, the same request succeeds.
    assert (await person.post(*ready)).status_code == 303


@pytest.mark.parametrize("token", ["", "0" * 64, "another form", "another session"])
async def test_a_form_without_its_csrf_token_decides_nothing(
    desk: RunningDesk, person: FakeBrowser, ready: tuple[str, dict[str, str]], token: str
) -> None:
    path, form = ready
    if token == "another form":
        token = forms(person.page)["/sign-out"]["token"]
    if token == "another session":
        async with browser(desk) as other:
            token = forms(other.page)[path]["token"]
    assert (await person.post(path, form | {"token": token})).status_code == 403
    assert await undecided(desk)


async def test_a_form_without_a_session_cookie_decides_nothing(
    desk: RunningDesk, person: FakeBrowser, ready: tuple[str, dict[str, str]]
) -> None:
    kept, person.http.cookies = person.http.cookies, httpx.Cookies()
    assert (await person.post(*ready)).status_code == 403
    assert await undecided(desk)
    person.http.cookies = kept
    assert (await person.post(*ready)).status_code == 303


async def test_without_a_session_every_page_shows_only_the_sign_in(desk: RunningDesk) -> None:
    approval = await desk.ask()
    async with browser(desk, signed_in=False) as stranger:
        for path in ("/", "/audit", f"/decisions/{approval.id}", f"/kyc/{approval.id}", "/decisions/" + "0" * 32):
            answer = await stranger.get(path)
            assert answer.status_code == 401
            assert "user-1" not in answer.text and "Withdraw" not in answer.text
            assert "set-cookie" not in answer.headers


async def test_a_get_request_decides_nothing(
    desk: RunningDesk, person: FakeBrowser, ready: tuple[str, dict[str, str]]
) -> None:
    path, form = ready
    query = str(httpx.QueryParams(form))
    assert (await person.get(f"{path}?{query}")).status_code == 200
    assert await undecided(desk)


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"])
async def test_other_methods_are_refused(
    desk: RunningDesk, person: FakeBrowser, ready: tuple[str, dict[str, str]], method: str
) -> None:
    headers = {"Origin": person.origin, "Sec-Fetch-Site": "same-origin"}
    for path in ("/audit", ready[0]):
        answer = await person.http.request(method, person.home + path, headers=headers, data=ready[1])
        assert answer.status_code == 405
    assert await undecided(desk)


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nowhere", 404, None),
        ("GET", "/kyc/1", 404, None),
        ("GET", "/decisions/" + "g" * 32, 404, None),
        ("GET", "//audit", 404, None),
        ("GET", "/sign-out", 405, "POST"),
        ("GET", "/sign-in", 405, "POST"),
        ("POST", "/", 405, "GET"),
        ("POST", "/audit", 405, "GET"),
        ("POST", "/desk.css", 405, "GET"),
    ],
)
async def test_an_unknown_path_or_method_gets_an_error_page(
    person: FakeBrowser, method: str, path: str, status: int, allow: str | None
) -> None:
    headers = {"Origin": person.origin, "Content-Type": "application/x-www-form-urlencoded"} if method == "POST" else {}
    request = person.http.build_request(method, person.origin, headers=headers)
    request.url = request.url.copy_with(raw_path=(person.base + path).encode())
    answer = await person.http.send(request)
    assert (answer.status_code, answer.headers.get("allow")) == (status, allow)
    assert "<h1>" in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}, 403),
        ({"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors", "Sec_Fetch_Dest": "empty"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"}, 403),
        ({"Origin": "https://example.com"}, 403),
        ({"Host": "rebound.example.com"}, 421),
    ],
)
async def test_no_other_site_can_embed_the_desk(
    desk: RunningDesk, person: FakeBrowser, headers: dict[str, str], status: int
) -> None:
    await desk.ask()
    answer = await person.get("/", **headers)
    assert answer.status_code == status
    assert "Withdraw" not in answer.text


async def test_a_link_from_another_site_opens_the_sign_in(desk: RunningDesk) -> None:
    linked = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    async with browser(desk, signed_in=False) as person:
        answer = await person.get("/audit", **linked)
        assert answer.status_code == 401
        assert f'<a href="{person.base}/audit">Already signed in? Continue.</a>' in answer.text
        # The browser then asks again by itself, with the cookie.
        assert answer.headers["refresh"] == f"0; url={person.base}/audit"
        assert "refresh" not in (await person.get("/audit")).headers


async def test_every_response_carries_restrictive_headers(desk: RunningDesk, person: FakeBrowser) -> None:
    approval = await desk.ask()
    answers = [await person.get(path) for path in ("/", "/audit", "/desk.css", f"/decisions/{approval.id}", "/nowhere")]
    answers += [await person.get("/", Host="x"), await person.post("/sign-in", {"token": "x"})]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        for part in ("default-src 'none'", "style-src 'self'", "form-action 'self'", "frame-ancestors 'none'"):
            assert part in policy
        assert "base-uri 'none'" in policy and "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        # Not `no-referrer`: it would also remove the origin from the desk's own forms.
        assert answer.headers["referrer-policy"] == "same-origin"
        assert not {"server", "access-control-allow-origin"} & set(answer.headers)
        assert " style=" not in answer.text
        # Each script is ours: the policy names it by its hash.
        for script in re.findall("<script>(.*?)</script>", answer.text, re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy
        assert answer.text.count("<script") == answer.text.count("<script>")


async def test_an_oversized_body_is_not_read(
    desk: RunningDesk, person: FakeBrowser, ready: tuple[str, dict[str, str]]
) -> None:
    path, form = ready
    assert (await person.post(path, form | {"more": "x" * MAX_BODY_BYTES})).status_code == 413
    assert await undecided(desk)
    # Whatever its Content-Length, and in any number of chunks.
    port = urlsplit(desk.address).port

    def pieces() -> bytes:
        head = f"POST {person.base}{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: {person.origin}\r\n"
        head += "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port or 0), timeout=PATIENCE) as wire:
            wire.sendall(head.encode())
            try:
                for _ in range(400):
                    wire.sendall(b"400\r\n" + b"a" * 1024 + b"\r\n")
            except OSError:
                return b"closed"
            return wire.recv(100)

    assert (await anyio.to_thread.run_sync(pieces))[:12] in (b"HTTP/1.1 413", b"closed")


@pytest.mark.parametrize(
    "body",
    [b"", b"token", b"token=%ff", b"\xff", b"token=a&token=b", b"&".join(b"f%d=1" % n for n in range(99)), b"a=%zz"],
)
async def test_a_body_that_is_not_a_valid_form_is_refused(
    desk: RunningDesk, person: FakeBrowser, body: bytes, ready: Any
) -> None:
    headers = {"Origin": person.origin, "Content-Type": "application/x-www-form-urlencoded"}
    answer = await person.http.post(person.home + ready[0], content=body, headers=headers)
    assert answer.status_code == 403
    assert await undecided(desk)


async def test_a_failing_page_reports_an_error_without_data(
    desk: RunningDesk, person: FakeBrowser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(*_: object) -> None:
        raise ValueError("zyx-secret")

    monkeypatch.setattr(type(desk.guard.channels), "waiting", fails)
    answer = await person.get()
    assert answer.status_code == 500
    assert "zyx-secret" not in answer.text + caplog.text
    assert "ValueError" in caplog.text
    assert answer.headers["cache-control"] == "no-store"
