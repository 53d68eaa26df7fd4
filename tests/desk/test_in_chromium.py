"""Test the desk's pages in Chromium: contrast, layout at every width, keyboard use, and no scripts."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from machines_mcp.desk.dependencies import CardPage
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval_details import ApprovalDetails
from machines_mcp.server.browser import open_page
from tests.desk.pictures import PageDriver
from tests.desk.scenes import busy_desk, waiting
from tests.support.browser import CONTRAST, Tab, chromium, tab
from tests.support.running_desk import PASSPHRASE, RunningDesk, running_desk

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.check,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed (as root, `make check` installs it)"),
]

PAGES = ("home", "decision", "decided", "kyc", "kyc-faults", "audit", "freeze", "missing")
# The focusable elements, in page order.
FOCUSED = "[document.activeElement.tagName, document.activeElement.id, document.activeElement.textContent.trim()]"
SMALL = """[...document.querySelectorAll('a, button, summary, select, input:not([type=hidden])')]
  .filter((one) => one.tabIndex >= 0 && one.offsetHeight && one.offsetHeight < 24)
  .filter((one) => !one.closest('p, td, li, small, label'))
  .map((one) => one.outerHTML)"""
NAMELESS = """[...document.querySelectorAll('input:not([type=hidden]), select')]
  .filter((one) => !one.labels.length).map((one) => one.outerHTML)"""
TWICE = """(() => { const ids = [...document.querySelectorAll('[id]')].map((one) => one.id);
  return ids.length - new Set(ids).size; })()"""
GAPS = """[...document.querySelectorAll('aside > .sheet + .sheet')].map((one) =>
  one.getBoundingClientRect().top - one.previousElementSibling.getBoundingClientRect().bottom)"""
INDENTS = """[...document.querySelectorAll('aside .rows')].map((one) =>
  one.querySelector('a').getBoundingClientRect().left
  - one.closest('.sheet').querySelector('h2').getBoundingClientRect().left)"""
UNTIED = """[...document.querySelectorAll('[aria-describedby], [aria-labelledby]')].flatMap((one) =>
  `${one.getAttribute('aria-describedby') ?? ''} ${one.getAttribute('aria-labelledby') ?? ''}`.trim().split(/ +/))
  .filter((id) => !document.getElementById(id))"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    program = chromium()
    assert program is not None
    with tab(program, tmp_path_factory.mktemp("profile")) as opened:
        opened.call("Emulation.setScrollbarsHidden", hidden=True)
        yield opened


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the source of axe-core, from npm."""
    npm, ci = shutil.which("npm"), bool(os.environ.get("CI"))
    if npm is None and not ci:
        pytest.skip("npm is not installed, so axe-core can't be had")
    assert npm is not None, "the continuous integration has npm"
    folder = tmp_path_factory.mktemp("axe")
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), "axe-core@4"]
    got = subprocess.run(command, capture_output=True, text=True, timeout=180)
    if got.returncode != 0 and not ci:
        pytest.skip("npm could not fetch axe-core")
    assert got.returncode == 0, got.stderr[-500:]
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[RunningDesk]:
    async with busy_desk(tmp_path / "state") as opened:
        yield opened


@pytest.fixture
async def person(desk: RunningDesk, page: Tab) -> PageDriver:
    """A signed-in browser with waiting approvals of every kind."""
    ids = {name: approval.id for name, approval in (await waiting(desk)).items()}
    (refused,) = [approval for approval in await desk.guard.approvals.recent(30) if approval.state == "refused"]
    driver = PageDriver(page, desk, ids | {"refused": refused.id})
    await in_thread(lambda: driver.sign_in())
    return driver


async def in_thread(look: Callable[[], Any]) -> Any:
    """Run a blocking browser check in a thread and return its result."""
    return await anyio.to_thread.run_sync(look)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 1280])
async def test_every_page_has_readable_contrast_and_no_overflow(
    person: PageDriver, page: Tab, width: int, dark: bool
) -> None:
    def look(name: str) -> tuple[Any, ...]:
        person.go(name, width, dark)
        return (
            page.evaluate("document.documentElement.scrollWidth"),
            page.evaluate(CONTRAST),
            page.evaluate(SMALL),
            page.evaluate("getComputedStyle(document.body).backgroundColor"),
        )

    for name in PAGES:
        whole, (ratio, whose), small, ground = await in_thread(lambda name=name: look(name))  # type: ignore[misc]
        assert whole <= width, name
        assert ratio >= 4.5, (name, whose)
        assert small == [], name
        assert ground == ("rgb(16, 18, 21)" if dark else "rgb(244, 245, 247)")


async def test_every_page_has_landmarks_language_one_h1_and_labels(person: PageDriver, page: Tab) -> None:
    def look(name: str) -> tuple[Any, ...]:
        person.go(name, 1280, False)
        count = "[document.querySelectorAll('main').length, document.querySelectorAll('h1').length]"
        levels = "[...document.querySelectorAll('h1, h2, h3')].map((one) => Number(one.tagName[1]))"
        language = "document.documentElement.lang + ' ' + (document.title.length > 10)"
        return tuple(page.evaluate(one) for one in (count, levels, language, NAMELESS, UNTIED, TWICE))

    for name in PAGES:
        count, levels, language, nameless, untied, twice = await in_thread(lambda name=name: look(name))  # type: ignore[misc]
        assert count == [1, 1], name
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels)), (name, levels)
        assert (language, nameless, untied, twice) == ("en true", [], [], 0), name


async def test_the_cards_beside_the_approvals_are_apart_and_align_their_lists(person: PageDriver, page: Tab) -> None:
    def look() -> tuple[Any, Any]:
        person.go("home", 1280, False)
        return page.evaluate(GAPS), page.evaluate(INDENTS)

    gaps, indents = await in_thread(look)
    assert len(gaps) == 1 and min(gaps) >= 16
    assert indents == [0]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_axe_finds_no_violations(person: PageDriver, page: Tab, axe: str, dark: bool) -> None:
    run = (
        "axe.run(document, {resultTypes: ['violations']}).then((found) => ({count: found.passes.length,"
        " bad: found.violations.map((one) => [one.id, one.nodes.map((node) => node.html)])}))"
    )

    def look(name: str) -> dict[str, Any]:
        person.go(name, 390, dark)
        page.evaluate(axe)
        answer = page.call("Runtime.evaluate", expression=run, awaitPromise=True, returnByValue=True)
        return dict(answer["result"]["value"])

    for name in PAGES:
        judged = await in_thread(lambda name=name: look(name))  # type: ignore[misc]
        assert judged["bad"] == [], name
        assert judged["count"] > 15, name


async def test_an_approval_needs_only_the_keyboard(desk: RunningDesk, person: PageDriver, page: Tab) -> None:
    (money,) = [approval for approval in await desk.guard.approvals.waiting() if approval.tool == "create_withdrawal"]

    def walk() -> list[Any]:
        page.call("Emulation.setScriptExecutionDisabled", value=True)
        try:
            person.go("home", 390, False)
            page.press("Tab", 9)
            first = page.evaluate(FOCUSED)
            page.press("Enter", 13, "\r")
            for _ in range(30):
                page.press("Tab", 9)
                if page.evaluate("document.activeElement.id") == f"p-{money.id}":
                    break
            # The width alone is not enough: it keeps its value when the style is `none`.
            outline = page.evaluate("getComputedStyle(document.activeElement).outline")
            page.call("Input.insertText", text=PASSPHRASE)
            page.press("Enter", 13, "\r")
            page.until("document.querySelector('.said')?.textContent.startsWith('Approved')")
            return [first, outline]
        finally:
            page.call("Emulation.setScriptExecutionDisabled", value=False)

    first, outline = await in_thread(walk)
    assert first == ["A", "", "Skip to content"]
    assert "solid 3px" in outline, outline
    assert await desk.state(money) == "granted"


async def test_the_identity_form_needs_only_the_keyboard(desk: RunningDesk, person: PageDriver, page: Tab) -> None:
    typed = {
        "first_name": "Grace",
        "last_name": "Hopper",
        "national_id": "TEST-1906",
        "country_of_issue": "us",
        "email": "grace@example.com",
        "address_line1": "2 Harbor Road",
        "address_city": "Arlington",
        "address_region": "VA",
        "address_postal_code": "22201",
        "address_country_code": "US",
    }

    def walk() -> dict[str, Any]:
        said: dict[str, Any] = {}
        page.call("Emulation.setScriptExecutionDisabled", value=True)
        try:
            person.go("kyc", 390, True)
            for name, text in typed.items():
                page.evaluate(f"document.getElementById({name!r}).focus()")
                page.call("Input.insertText", text=text)
            page.evaluate("document.getElementById('birth_date').focus()")
            for key in "12091906":
                page.press(key, ord(key), key)
            page.evaluate("document.getElementById('occupation_search').focus()")
            page.call("Input.insertText", text="developer")
            page.press("Enter", 13, "\r")
            page.until("document.querySelector('[type=radio]') && document.readyState === 'complete'")
            said["kept"] = page.evaluate("document.getElementById('email').value")
            page.until("document.activeElement.type === 'radio'")
            page.press(" ", 32, " ")
            for name in ("annual_salary", "account_purpose", "expected_monthly_volume"):
                page.evaluate(f"document.getElementById({name!r}).focus()")
                page.press("ArrowDown", 40)
            page.evaluate("document.getElementById('passphrase').focus()")
            page.call("Input.insertText", text="not it at all")
            page.press("Enter", 13, "\r")
            page.until("document.querySelector('.problems') && document.readyState === 'complete'")
            said["problems"] = page.evaluate("document.querySelector('.problems').innerText")
            page.until("document.activeElement.className === 'problems'")
            desk.clock.advance(1)
            page.evaluate("document.getElementById('passphrase').focus()")
            page.call("Input.insertText", text=PASSPHRASE)
            page.press("Enter", 13, "\r")
            page.until("location.pathname.includes('/decisions/') && document.readyState === 'complete'")
            said["end"] = page.evaluate("document.querySelector('.said').innerText")
            said["history"] = page.evaluate("location.href")
            return said
        finally:
            page.call("Emulation.setScriptExecutionDisabled", value=False)

    said = await in_thread(walk)
    assert said["kept"] == "grace@example.com"
    assert "Wrong passphrase." in said["problems"] and "One field" in said["problems"], said
    assert said["end"].startswith("Sent to Machines.")
    (sent,) = desk.partner.sent
    choices = {"annual_salary": "<40k", "account_purpose": "everyday spend", "expected_monthly_volume": "under $1k"}
    assert sent == typed | choices | {"birth_date": "1906-12-09", "occupation": "15-1132"}
    assert not any(value in json.dumps(said["history"]) for value in typed.values())


async def test_the_redirect_file_leads_a_signed_in_browser_to_the_page(
    desk: RunningDesk, person: PageDriver, page: Tab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("machines_mcp.server.browser.browser_command", lambda *_: ("/no/such/program",))
    open_page(f"{desk.address}audit", tmp_path, at_once=True)

    def follow() -> str:
        (file,) = tmp_path.glob("open-*.html")
        page.open(file.as_uri(), width=800, dark=False)
        page.until("document.readyState === 'complete' && !!document.querySelector('nav[aria-label=Desk]')")
        return str(page.evaluate("document.querySelector('h1').textContent"))

    assert await in_thread(follow) == "Audit"


@contextmanager
def another_site(markup: str) -> Iterator[str]:
    """A page of another program on this machine, which a browser treats as same-site."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(markup.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


async def test_a_click_at_the_desk_leads_to_the_cards_page_on_another_port(tmp_path: Path, page: Tab) -> None:
    async with running_desk(tmp_path / "state", "embedded") as desk:
        approval = await desk.ask(ActionClass.REVEAL, ApprovalDetails("Show it?", sink="page", only="page"))

        def click() -> str:
            with another_site("<h1>The card</h1>") as vault:
                desk.partner.card_page = CardPage(vault)
                page.open(f"{desk.address}decisions/{approval.id}", width=800, dark=False)
                page.evaluate("document.querySelector('form.elsewhere button').click()")
                page.until(f"location.href === {vault!r} && document.readyState === 'complete'")
                return f"{page.evaluate('document.body.innerText')}|{page.evaluate('document.referrer')}"

        # The desk's address is secret, so it is no referrer.
        assert await in_thread(click) == "The card|"


async def test_another_local_page_can_neither_frame_nor_submit_the_desk(tmp_path: Path, page: Tab) -> None:
    # Without a passphrase, so only the browser and the request guard protect the desk.
    async with running_desk(tmp_path / "state", "embedded") as desk:
        approval = await desk.ask()
        path = f"decisions/{approval.id}"
        form = f"<form method=post action={desk.address}{path}><input name=decision value=approve></form>"

        def press() -> str:
            page.open(desk.address + path, width=800, dark=False)  # A visit, so that the browser has a cookie.
            with another_site(form) as evil:
                page.open(evil, width=800, dark=False)
                page.evaluate("document.forms[0].submit()")
                page.until(f"location.href.startsWith({desk.address!r}) && document.readyState === 'complete'")
                return str(page.evaluate("document.body.innerText"))

        def frame() -> Any:
            with another_site(f"<iframe src='{desk.address}{path}'></iframe>") as evil:
                page.open(evil, width=800, dark=False)
                (child,) = page.call("Page.getFrameTree")["frameTree"]["childFrames"]
                return child["frame"].get("unreachableUrl")

        assert "own pages can submit its forms" in await in_thread(press)
        assert await in_thread(frame) == f"{desk.address}{path}"
        assert await desk.state(approval) == "waiting"
