"""Test that only those who know the desk's secret path reach a page of it, and that every link leads below it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
from anyio.abc import SocketStream

from machines_mcp.desk.secret_path import secret_path
from machines_mcp.redaction.detectors import masked_text
from machines_mcp.storage.principal import ANY_USER
from machines_mcp.web.form import FORM_TYPE
from tests.support.running_desk import PASSPHRASE, FakeBrowser, RunningDesk, browser, forms, identity_form, running_desk
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.anyio

_LINK = re.compile(r'(?:href|action|src)="([^"]*)"')
NOWHERE = "There is no page at this address.\n"


def outside(base: str) -> list[str]:
    """Return paths near the secret one that must not lead to the desk."""
    near = [base[:-1], base + "x", base.upper(), f"/{base}/", f"//x{base}/", f"/desk{base}/", f"{base}x/audit"]
    pages = [
        "/",
        "/audit",
        "/sign-in",
        "/sign-out",
        "/desk.css",
        "/proof",
        "/kyc/" + "0" * 32,
        "/decisions/" + "0" * 32,
    ]
    return [*pages, *near, f"/{'a' * 32}/", f"/{'a' * 32}/sign-in"]


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_every_path_outside_the_secret_one_is_not_found(desk: RunningDesk, method: str) -> None:
    parts = urlsplit(desk.address)
    base = parts.path.rstrip("/")
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        for path in outside(base):
            request = http.build_request(method, f"http://{parts.netloc}")
            request.url = request.url.copy_with(raw_path=path.encode())
            answer = await http.send(request)
            assert (answer.status_code, path) == (404, path)
            assert method == "HEAD" or answer.text == NOWHERE
            assert "Machines" not in str(answer.headers) and "set-cookie" not in answer.headers
            assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_a_sign_in_outside_the_secret_path_is_refused_before_its_body_is_read(desk: RunningDesk) -> None:
    parts = urlsplit(desk.address)
    head = f"POST /sign-in HTTP/1.1\r\nHost: {parts.netloc}\r\nOrigin: http://{parts.netloc}\r\n"
    head += f"Content-Type: {FORM_TYPE}\r\nContent-Length: 20000\r\n\r\n"
    with anyio.fail_after(PATIENCE):
        async with await anyio.connect_tcp("127.0.0.1", parts.port or 0) as stream:
            await stream.send(head.encode())
            answer = await whole(stream)
    assert answer.startswith(b"HTTP/1.1 404") and b"connection: close" in answer
    assert await desk.guard.audit.rows(ANY_USER, kind="decision") == []


async def whole(stream: SocketStream) -> bytes:
    """Return all that comes until the other end closes."""
    answer = b""
    try:
        while True:
            answer += await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return answer


async def test_wrong_passphrases_outside_the_secret_path_are_not_tried(desk: RunningDesk) -> None:
    approval = await desk.ask()
    parts = urlsplit(desk.address)
    stranger = {"Origin": f"http://{parts.netloc}"}
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        for path in ("/sign-in", f"/decisions/{approval.id}", f"/{'b' * 32}/sign-in"):
            form = {"decision": "approve", "passphrase": PASSPHRASE, "token": "0" * 64}
            assert (await http.post(f"http://{parts.netloc}{path}", data=form, headers=stranger)).status_code == 404
    assert await desk.state(approval) == "waiting"
    async with browser(desk, signed_in=False) as person:
        assert (await person.sign_in()).status_code == 303


async def test_every_link_and_form_of_every_page_leads_below_the_secret_path(
    desk: RunningDesk, person: FakeBrowser
) -> None:
    form, money = await desk.ask(details=identity_form(), tool="submit_kyc", digest="f"), await desk.ask()
    decided = await desk.ask(digest="d")
    await desk.guard.approvals.refuse(decided.id, "desk")
    paths = ["/", "/audit?user=user-1", "/audit?day=x", f"/kyc/{form.id}", "/nowhere"]
    paths += [f"/decisions/{approval.id}" for approval in (form, money, decided)]
    pages = [(await person.get(path)).text for path in paths]
    async with browser(desk, signed_in=False) as stranger:
        pages.append((await stranger.get()).text)
    for path, page in zip([*paths, "/sign-in"], pages, strict=True):
        links = [link for link in _LINK.findall(page) if not link.startswith("#")]
        assert links, path
        assert [link for link in links if not link.startswith(f"{person.base}/")] == [], path
    assert "/sign-out" in forms(pages[0])


async def test_the_address_without_its_last_slash_opens_the_desk(desk: RunningDesk, person: FakeBrowser) -> None:
    answer = await person.http.get(person.home, follow_redirects=True)
    assert answer.url.path == f"{person.base}/" and "Waiting for you" in answer.text


async def test_all_desks_of_a_folder_have_one_path_and_other_folders_another(tmp_path: Path, desk: RunningDesk) -> None:
    async with running_desk(tmp_path / "state", "embedded") as other:
        assert other.address != desk.address
        assert urlsplit(other.address).path == urlsplit(desk.address).path == secret_path(b"k") + "/"
    assert secret_path(b"k") != secret_path(b"z")


def test_the_path_is_128_bits_that_no_filter_masks() -> None:
    paths = [secret_path(number.to_bytes(2, "big")) for number in range(2000)]
    assert len(set(paths)) == 2000
    assert all(re.fullmatch("/[a-p]{32}", path) and masked_text(f"at http://127.0.0.1:1{path}/") for path in paths)
    assert [path for path in paths if masked_text(path) != path] == []
