"""Test the desk's pages in Chromium: contrast, layout at every width, keyboard use, and live updates."""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import pytest

from machines_mcp.desk.dependencies import CardPage
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.permissions.approval import Approval
from machines_mcp.permissions.approval_details import ApprovalDetails
from machines_mcp.sandbox.kyc_form import OCCUPATIONS
from machines_mcp.server.browser import open_page
from tests.desk.pictures import WIDE, PageDriver
from tests.desk.scenes import busy_desk, waiting
from tests.support.axe import axe_source, violations
from tests.support.browser import CONTRAST, Tab, chromium, tab
from tests.support.running_desk import PASSPHRASE, RunningDesk, identity_form, kyc_values, running_desk
from tests.support.waiting import PATIENCE

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.check,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed (as root, `make check` installs it)"),
]

PAGES = (
    "home",
    "decision",
    "change",
    "close",
    "consent",
    "decided",
    "kyc",
    "kyc-faults",
    "audit",
    "freeze",
    "missing",
    "locked",
)
# Records notifications in place of the browser, which is not asked.
NOTIFICATION = """window.shown = []; window.Notification = class {
  static permission = 'default';
  static async requestPermission() { return this.permission = 'granted'; }
  constructor(title, options) { window.shown.push([title, JSON.stringify(options)]); } close() {} };"""
# The focusable elements, in page order.
FOCUSED = "[document.activeElement.tagName, document.activeElement.id, document.activeElement.textContent.trim()]"
SMALL = """[...document.querySelectorAll('a, button, summary, select, input:not([type=hidden])')]
  .filter((one) => one.tabIndex >= 0 && one.offsetHeight && one.offsetHeight < 24)
  .filter((one) => !one.closest('p, td, li, small, label'))
  .map((one) => one.outerHTML)"""
NAMELESS = """[...document.querySelectorAll('input:not([type=hidden]), select:not([hidden])')]
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
    return axe_source(tmp_path_factory.mktemp("axe"))


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
@pytest.mark.parametrize("width", [320, 390, 1280])
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


@pytest.mark.parametrize(("width", "dark"), [(390, False), (390, True), (1280, False)])
async def test_axe_finds_no_violations(person: PageDriver, page: Tab, axe: str, width: int, dark: bool) -> None:
    def look(name: str) -> list[Any]:
        person.go(name, width, dark)
        return violations(page, axe)

    for name in PAGES:
        assert await in_thread(lambda name=name: look(name)) == [], name  # type: ignore[misc]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_each_state_of_the_desk_is_accessible_and_fits(
    desk: RunningDesk, page: Tab, axe: str, dark: bool
) -> None:
    """Sign-in, empty, new request, unreachable, expired, sent and locked, in this order in one browser."""
    home, driver = desk.address.rstrip("/"), PageDriver(page, desk, {})

    def judge(name: str, until: str) -> None:
        page.until(f"!!({until})")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        assert page.evaluate(CONTRAST)[0] >= 4.5, (name, page.evaluate(CONTRAST))
        assert violations(page, axe) == [], name

    def visit(name: str, path: str, until: str) -> None:
        page.open(home + path, width=390, dark=dark)
        judge(name, until)

    await in_thread(lambda: visit("sign-in", "/audit", "document.querySelector('#passphrase')"))
    await in_thread(driver.sign_in)
    await in_thread(lambda: visit("empty", "/", "document.querySelector('.sheet.empty')"))
    form = await desk.ask(ActionClass.IDENTITY, identity_form(), tool="submit_kyc", digest="f")
    await in_thread(lambda: judge("new", "document.querySelectorAll('article').length === 1"))
    await in_thread(lambda: page.evaluate("document.getElementById('offline').hidden = false"))
    await in_thread(lambda: judge("unreachable", "true"))
    await in_thread(lambda: visit("form", f"/kyc/{form.id}", "document.querySelector('[role=combobox]')"))
    await in_thread(lambda: page.evaluate("document.getElementById('occupation').click()"))
    await in_thread(lambda: judge("open list", "document.querySelectorAll('[role=option]').length > 1"))
    await in_thread(lambda: page.call("Network.clearBrowserCookies"))
    await in_thread(lambda: page.evaluate("document.querySelector('main form').submit()"))
    await in_thread(lambda: judge("locked form", "document.querySelector('input[type=hidden][name=last_name]')"))
    unlock = (
        f"document.querySelector('#passphrase').value = {PASSPHRASE!r}; document.querySelector('main form').submit()"
    )
    await in_thread(lambda: page.evaluate(unlock))
    await in_thread(lambda: judge("form again", "document.querySelector('.problems')"))
    desk.clock.advance(15 * 60 + 1)
    await in_thread(lambda: page.evaluate("document.querySelector('main form').submit()"))
    await in_thread(
        lambda: judge("expired form", "document.querySelector('.problems')?.textContent.includes('expired')")
    )
    await in_thread(lambda: visit("closed form", f"/kyc/{form.id}", "document.querySelector('h1')"))
    await in_thread(lambda: visit("expired", f"/decisions/{form.id}", "document.querySelector('.state.soft')"))
    cookie = {"name": f"machines_desk_{urlsplit(home).port}", "value": "gone", "url": f"{home}/"}
    await in_thread(lambda: page.call("Network.setCookie", **cookie, path=f"{urlsplit(home).path}/"))
    await in_thread(lambda: visit("locked", "/", "document.querySelector('h1').textContent.includes('locked')"))


async def test_no_page_writes_to_the_console(person: PageDriver, page: Tab) -> None:
    def look() -> list[str]:
        page.watch_console()
        for name in PAGES:
            if name not in ("kyc-faults", "missing"):  # Browsers report each status above 399.
                person.go(name, 1280, False)
                page.evaluate("fetch(document.querySelector('link[rel=icon]').href)")
        return list(page.console)

    assert await in_thread(look) == []


async def test_an_open_desk_shows_a_new_request_and_notifies_without_saying_more(
    desk: RunningDesk, person: PageDriver, page: Tab
) -> None:
    (money,) = [approval for approval in await desk.guard.approvals.waiting() if approval.tool == "create_withdrawal"]

    def prepare() -> list[Any]:
        page.call("Page.enable")
        script = page.call("Page.addScriptToEvaluateOnNewDocument", source=NOTIFICATION)["identifier"]
        person.go("home", 390, False)
        before = [page.evaluate(one) for one in ("document.title", "document.querySelector('#notify').hidden")]
        page.evaluate("document.querySelector('#notify').click()")
        page.until("document.querySelector('#notify').hidden && Notification.permission === 'granted'")
        page.evaluate(f"document.getElementById('p-{money.id}').focus()")
        page.call("Input.insertText", text="half of it")
        return [script, *before]

    def changed(approval: Approval) -> list[Any]:
        page.until(f"!!document.getElementById('a-{approval.id}') && window.shown.length === 1")
        return [
            page.evaluate(one)
            for one in (
                "document.title",
                "document.querySelector('link[rel=icon]').href.endsWith('/icon-waiting.svg')",
                "document.querySelector('#count').textContent",
                "window.shown[0]",
                "document.querySelector('h2.group').textContent",
                f"document.getElementById('p-{money.id}').value",
                "document.activeElement.id",
            )
        ]

    script, title, hidden = await in_thread(prepare)
    assert title.startswith("8 waiting") and hidden is False
    desk.clock.advance(1)
    approval = await desk.ask(user_id="a-new-user", digest="new")
    title, icon, count, shown, first, typed, focused = await in_thread(lambda: changed(approval))
    assert (title[:9], icon, count) == ("9 waiting", True, "9")
    assert shown[0] == "A request waits"
    assert json.loads(shown[1]) == {"tag": "machines-desk", "renotify": True}
    assert first.startswith("“a-new-user” from the agent")
    # What a person has typed stays, and so does their place.
    assert (typed, focused) == ("half of it", f"p-{money.id}")
    for one in await desk.guard.approvals.waiting():
        await desk.guard.approvals.refuse(one.id, "terminal")
    await in_thread(lambda: page.until("document.title.startsWith('Nothing waiting')"))
    await in_thread(lambda: page.until("document.querySelector('link[rel=icon]').href.endsWith('/icon.svg')"))
    await in_thread(lambda: page.until("!!document.querySelector('.sheet.empty')"))
    await in_thread(lambda: page.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script))


async def test_many_open_pages_share_one_connection(desk: RunningDesk, person: PageDriver, page: Tab) -> None:
    others = await in_thread(lambda: [page.another() for _ in range(7)])

    def look() -> None:
        person.go("home", 1280, False)
        for other in others:
            other.open(desk.address, width=1280, dark=False)
        for other in (page, *others):
            other.until("document.querySelector('#count').textContent === '8'")

    def changed(count: str) -> None:
        for other in others:
            other.until(f"document.querySelector('#count').textContent === '{count}'")
            other.until(f"document.querySelectorAll('article').length === {count}")

    await in_thread(look)
    await desk.ask(digest="new")
    await in_thread(lambda: changed("9"))
    # If the page that listens is closed, another one takes over.
    await in_thread(lambda: page.open("about:blank", width=1280, dark=False))
    await desk.ask(digest="newer")
    await in_thread(lambda: changed("10"))
    await in_thread(lambda: [other.close() for other in others])


async def test_a_button_that_has_just_moved_ignores_a_click(desk: RunningDesk, person: PageDriver, page: Tab) -> None:
    click = "document.querySelector('#waiting button[value=refuse]').click()"
    # The window hears of a submission last. Nothing is sent here, so that each is counted.
    note = "(event) => { (window.ignored ??= []).push(event.defaultPrevented); event.preventDefault(); }"

    def prepare() -> None:
        person.go("home", 1280, False)
        page.until("document.querySelector('#count').textContent === '8'")
        page.evaluate(f"addEventListener('submit', {note})")
        watch = f"new MutationObserver(() => {click})"
        page.evaluate(f"{watch}.observe(document.querySelector('.wide'), {{childList: true}})")

    def later() -> None:
        while page.evaluate("window.ignored.at(-1)"):
            page.evaluate(click)

    await in_thread(prepare)
    await desk.ask(digest="new")
    await in_thread(lambda: page.until("window.ignored?.length > 0"))
    assert await in_thread(lambda: page.evaluate("window.ignored[0]")) is True
    with anyio.fail_after(PATIENCE):
        await in_thread(later)


async def test_a_page_of_a_request_follows_what_becomes_of_it(desk: RunningDesk, person: PageDriver, page: Tab) -> None:
    (money,) = [approval for approval in await desk.guard.approvals.waiting() if approval.tool == "create_withdrawal"]
    await in_thread(lambda: person.go("decision", 1280, False))
    await in_thread(lambda: page.until("document.querySelector('#count').textContent === '8'"))
    assert await desk.guard.approvals.grant(money.id, "terminal")
    await in_thread(lambda: page.until("document.querySelector('.state')?.textContent === 'Approved'"))


async def test_the_lists_of_the_form_are_searched_with_the_keyboard(
    desk: RunningDesk, person: PageDriver, page: Tab
) -> None:
    jobs = [{"code": code, "label": label} for code, label in OCCUPATIONS.items()]
    desk.partner.values = kyc_values(occupations=jobs)

    def search(name: str, words: str, *keys: tuple[str, int]) -> list[Any]:
        page.evaluate(f"document.getElementById({name!r}).focus()")
        page.call("Input.insertText", text=words)
        found = page.evaluate(f"[...document.querySelectorAll('#{name}-list li')].map((one) => one.textContent)")
        for key, code in keys:
            page.press(key, code)
        shown = page.evaluate(f"document.getElementById({name!r}).value")
        return [found, shown, page.evaluate(f"document.querySelector('select[name={name}]').value")]

    await in_thread(lambda: person.go("kyc", 390, False))
    down, enter, escape, tab_key = ("ArrowDown", 40), ("Enter", 13), ("Escape", 27), ("Tab", 9)
    found, shown, value = await in_thread(lambda: search("occupation", "doctor", down, enter))
    assert found == ["Family and General Practitioners", "Surgeons"] and (shown, value) == ("Surgeons", "29-1067")
    # Words in any order, without accents; Tab takes the first.
    found, shown, value = await in_thread(lambda: search("address_country_code", "cote ivo", tab_key))
    assert value == "CI" and len(found) == 1
    # Leaving without a choice keeps what was chosen before.
    await in_thread(lambda: page.evaluate("document.getElementById('occupation').select()"))
    found, shown, value = await in_thread(lambda: search("occupation", "zzzz", escape, tab_key))
    assert (found, shown, value) == ([], "Surgeons", "29-1067")


async def test_the_form_counts_down_and_says_that_what_was_typed_stays(
    desk: RunningDesk, person: PageDriver, page: Tab
) -> None:
    desk.clock.advance(15 * 60 - 105)  # The form was asked for 100 s before.

    def look() -> list[str]:
        person.go("kyc", 390, False)
        page.evaluate("document.getElementById('email').value = 'grace@example.com'")
        first = page.evaluate("document.getElementById('left').textContent")
        page.until("document.getElementById('left').textContent.startsWith('This form has expired.')")
        return [first, page.evaluate("document.getElementById('email').value")]

    first, email = await in_thread(look)
    assert re.search(r"0:\d\d left", first)
    assert email == "grace@example.com"


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


async def test_ticked_cards_are_unlocked_and_others_are_not_sent(
    desk: RunningDesk, person: PageDriver, page: Tab
) -> None:
    def unlock() -> str:
        person.go("locked", WIDE, False)
        page.evaluate("document.querySelectorAll('input[type=checkbox]')[1].click()")
        page.evaluate(f"document.querySelector('#passphrase').value = {PASSPHRASE!r}")
        person.press(".locked form button", "document.querySelector('.said')")
        return str(page.evaluate("document.querySelector('.said').textContent"))

    assert await in_thread(unlock) == "1 cards unlocked."


async def test_the_identity_form_needs_only_the_keyboard(desk: RunningDesk, person: PageDriver, page: Tab) -> None:
    typed = {
        "first_name": "Grace",
        "last_name": "Hopper",
        "national_id": "TEST-1906",
        "email": "grace@example.com",
        "address_line1": "2 Harbor Road",
        "address_city": "Arlington",
        "address_region": "VA",
        "address_postal_code": "22201",
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
            # A select without a script finds an option by its first letters.
            for name, letters in (
                ("country_of_issue", "United States o"),
                ("address_country_code", "Norway"),
                ("occupation", "Reg"),
            ):
                page.evaluate(f"document.getElementById({name!r}).focus()")
                for letter in letters:
                    page.press(letter, ord(letter.upper()), letter)
            for name in ("annual_salary", "account_purpose", "expected_monthly_volume"):
                page.evaluate(f"document.getElementById({name!r}).focus()")
                page.press("ArrowDown", 40)
            page.evaluate("document.getElementById('passphrase').focus()")
            page.call("Input.insertText", text="not it at all")
            page.press("Enter", 13, "\r")
            page.until("document.querySelector('.problems') && document.readyState === 'complete'")
            said["problems"] = page.evaluate("document.querySelector('.problems').innerText")
            said["kept"] = page.evaluate("document.getElementById('email').value")
            page.until("document.activeElement.className === 'problems'")
            desk.clock.advance(1)
            page.evaluate("document.getElementById('passphrase').focus()")
            page.call("Input.insertText", text=PASSPHRASE)
            page.press("Enter", 13, "\r")
            page.until(
                "document.querySelector('h1').innerText !== 'Identity check' && document.readyState === 'complete'"
            )
            said["end"] = page.evaluate("document.querySelector('h1').innerText")
            said["history"] = page.evaluate("location.href")
            return said
        finally:
            page.call("Emulation.setScriptExecutionDisabled", value=False)

    said = await in_thread(walk)
    assert said["kept"] == "grace@example.com"
    assert "Wrong passphrase." in said["problems"] and "One field" in said["problems"], said
    assert said["end"] == "Sent to Machines"
    (sent,) = desk.partner.sent
    choices = {"annual_salary": "<40k", "account_purpose": "everyday spend", "expected_monthly_volume": "under $1k"}
    choices |= {"country_of_issue": "US", "address_country_code": "NO", "occupation": "29-1141"}
    assert sent == typed | choices | {"birth_date": "1906-12-09"}
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
