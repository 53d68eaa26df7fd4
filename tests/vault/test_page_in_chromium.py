"""Test the vault's page in Chromium: shown once, hidden automatically, by keyboard, light, dark and on a phone."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.support.browser import CONTRAST, Tab, chromium
from tests.support.vault_simulator import OpenedCard, Simulator, Wiretap, wiretap
from tests.support.waiting import wait_until
from tests.vault.browser_page import ASKED, ENDED, SHOWN, TEXT, BrowserPage, browser_page
from tests.vault.pages import HANDLE, PASSPHRASE

pytestmark = [
    pytest.mark.check,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed (as root, `make check` installs it)"),
]

FOCUSED = "document.activeElement.id || document.activeElement.value || document.activeElement.tagName"


@pytest.fixture
def page(browser: Tab, api: Simulator, card: OpenedCard) -> Iterator[BrowserPage]:
    with browser_page(browser, api, card) as open_page:
        open_page.open()
        yield open_page


def test_the_keyboard_alone_retries_the_passphrase_and_hides_the_card(page: BrowserPage, card: OpenedCard) -> None:
    page.tab.until(f"{FOCUSED} === 'passphrase'")
    page.type("wrong one")
    page.enter()
    page.tab.until("document.querySelector('[role=alert]') !== null")
    assert page.tab.evaluate("document.querySelector('[role=alert]').textContent") == "Wrong passphrase."
    page.tab.until(f"{FOCUSED} === 'passphrase'")
    assert page.tab.evaluate("document.activeElement.getAttribute('aria-describedby')") == "fault"
    page.answer()
    assert page.tab.evaluate("document.querySelector('.number dd').textContent") == card.number
    assert card.code in page.tab.evaluate(TEXT)
    assert page.tab.evaluate(FOCUSED) == "H1"
    page.tab.press("Tab", 9)
    assert page.tab.evaluate(FOCUSED) == "hide"
    assert page.tab.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"
    page.enter()
    page.tab.until(f"!({SHOWN})")
    assert "The card is hidden" in page.tab.evaluate(TEXT)
    assert (page.shows_number(), page.reply().status, page.notes.wrongs) == (False, "shown", 1)


def test_the_number_is_copied_without_spaces(page: BrowserPage, card: OpenedCard) -> None:
    page.answer()
    copied = "(getSelection().selectAllChildren(document.querySelector('.number dd')), getSelection().toString())"
    assert page.tab.evaluate(copied) == card.number


def test_a_reload_says_that_the_card_was_already_shown(page: BrowserPage) -> None:
    page.answer()
    page.tab.call("Page.reload")
    page.tab.until(ENDED)
    assert "This card was already shown" in page.tab.evaluate(TEXT)
    assert not page.shows_number()


def test_a_page_decided_elsewhere_says_so_by_itself_and_keeps_what_is_typed_until_then(page: BrowserPage) -> None:
    page.type("correct horse")
    looks = page.notes.looks
    wait_until(lambda: page.notes.looks > looks + 1)
    assert page.tab.evaluate("document.getElementById('passphrase').value") == "correct horse"
    page.notes.lapsed = "page.refused_elsewhere"
    page.until_text("It was refused elsewhere.")
    page.tab.until(ENDED)
    assert page.reply().code == "page.refused_elsewhere"


def test_a_page_whose_vault_has_ended_stops_asking(page: BrowserPage) -> None:
    page.vault.cancel()
    page.until_text("This page has closed.")
    assert page.tab.evaluate("document.querySelector('[role=alert]').nextElementSibling.className") == "buttons"
    assert page.tab.evaluate("[...document.querySelectorAll('button, input')].every((one) => one.disabled)")


@contextmanager
def _tapped_page(
    browser: Tab, api: Simulator, card: OpenedCard
) -> Iterator[tuple[BrowserPage, Wiretap, BlockingPortal]]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(wiretap(api)) as tap,
        browser_page(browser, replace(api, base_url=tap.base_url), card) as page,
    ):
        page.open()
        yield page, tap, portal


async def _held(tap: Wiretap) -> anyio.Event:
    return tap.hold()


def test_a_reload_during_the_fetch_waits_for_its_end(browser: Tab, api: Simulator, card: OpenedCard) -> None:
    with _tapped_page(browser, api, card) as (page, tap, portal):
        gate = portal.call(_held, tap)
        page.type(PASSPHRASE)
        page.enter()
        portal.call(tap.connected.wait)
        browser.call("Page.reload")
        page.until_text("The card is being fetched")
        assert not browser.evaluate(ASKED)
        portal.call(gate.set)
        page.until_text("The card was not shown")
        assert (page.shows_number(), page.reply().code, page.notes.asked, tap.posts) == (False, "page.left", 1, 3)


def test_the_page_loads_nothing_while_its_form_is_submitted(page: BrowserPage) -> None:
    page.tab.evaluate("""(() => {
      fetch = () => { sessionStorage.loads++; return new Promise(() => {}); };
      document.querySelector("form").addEventListener("submit", () => setTimeout(() => {
        sessionStorage.loads = 0;
        document.dispatchEvent(new Event("visibilitychange"));
        sessionStorage.looked = "yes";
      }));
    })()""")
    page.answer()
    assert page.tab.evaluate("[sessionStorage.looked, sessionStorage.loads]") == ["yes", "0"]


def test_the_back_button_does_not_show_the_card_again(page: BrowserPage) -> None:
    page.answer()
    page.tab.call("Page.navigate", url="about:blank")
    page.tab.until("location.href === 'about:blank'")
    # Not right away: the answer to a navigation of its own can be lost with the page.
    page.tab.evaluate("setTimeout(() => history.back())")
    page.tab.until("location.href !== 'about:blank' && document.readyState === 'complete'")
    assert not page.shows_number()


def test_the_card_hides_itself_after_thirty_seconds(page: BrowserPage) -> None:
    page.answer()
    # The page measures time by the clock, so the test moves the clock.
    page.tab.evaluate("(() => { const now = Date.now; Date.now = () => now() + 29000; })()")
    page.tab.until("document.getElementById('left').textContent === '1'")
    assert page.shows_number()
    page.tab.evaluate("(() => { const now = Date.now; Date.now = () => now() + 1100; })()")
    page.tab.until(f"!({SHOWN})")
    assert (page.shows_number(), "The card is hidden" in page.tab.evaluate(TEXT)) == (False, True)


def test_the_refuse_button_refuses_the_reveal(page: BrowserPage) -> None:
    page.type("correct horse battery")
    page.tab.press("Tab", 9)
    page.tab.press("Tab", 9)
    assert page.tab.evaluate(FOCUSED) == "refuse"
    page.enter()
    page.tab.until(ENDED)
    assert "Refused" in page.tab.evaluate(TEXT)
    assert page.reply().code == "page.refused"


def test_the_page_works_and_hides_the_card_without_scripts(browser: Tab, api: Simulator, card: OpenedCard) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        with browser_page(browser, api, card) as page:
            page.open()
            page.answer()
            assert browser.evaluate("document.querySelector('.number dd').textContent") == card.number
            refresh = "document.querySelector('noscript meta[http-equiv=refresh]').content"
            assert browser.evaluate(refresh) == f"30;url=/{HANDLE}/end"
            browser.press("Tab", 9)
            page.enter()
            browser.until(ENDED)
            assert not page.shows_number()
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 1280])
def test_the_page_is_readable_without_overflow(
    browser: Tab, api: Simulator, card: OpenedCard, width: int, dark: bool
) -> None:
    long = "Client-" * 11
    with browser_page(browser, api, card, asked_by=long, environment="embedded") as page:
        page.open(width=width, dark=dark)
        ground = "rgb(16, 18, 21)" if dark else "rgb(244, 245, 247)"
        _readable(page.tab, width, ground)
        page.type("wrong one")
        page.enter()
        page.tab.until("document.querySelector('[role=alert]') !== null")
        _readable(page.tab, width, ground)
        page.answer()
        _readable(page.tab, width, ground)
        # On one line, as on the card.
        assert page.tab.evaluate("document.querySelector('.number dd').getClientRects().length") == 1
        number = "document.querySelector('.number dd')"
        assert page.tab.evaluate(f"{number}.offsetHeight < 2 * parseFloat(getComputedStyle({number}).fontSize)")
        page.enter() if page.tab.evaluate(FOCUSED) == "hide" else page.tab.evaluate("hide.click()")
        _readable(page.tab, width, ground)


def _readable(browser: Tab, width: int, ground: str) -> None:
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == ground
    ratio, whose = browser.evaluate(CONTRAST)
    assert ratio >= 4.5, whose
    assert browser.evaluate("document.querySelectorAll('h1').length") == 1
    heights = "[...document.querySelectorAll('button, input:not([type=hidden])')].map((one) => one.offsetHeight)"
    assert min(browser.evaluate(heights), default=44) >= 44


def test_the_page_says_that_it_expired_without_scripts(browser: Tab, api: Simulator, card: OpenedCard) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        with browser_page(browser, api, card, expires_at=time.time() + 4) as page:
            page.open()
            assert browser.evaluate(ASKED)
            page.until_text("It has expired.")
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_the_page_closes_when_the_approval_expires(page: BrowserPage) -> None:
    assert re.search(r"This request expires at [0-9]{2}:[0-9]{2} UTC\.", page.tab.evaluate(TEXT))
    page.tab.evaluate("(() => { const now = Date.now; Date.now = () => now() + 3600000; })()")
    page.tab.until("document.querySelector('button').disabled")
    assert "This request has expired" in page.tab.evaluate(TEXT)
    assert page.tab.evaluate(ASKED)
