"""Test the shown card in Chromium: more time, the copy buttons, and how it fits and reads on a phone."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.axe import violations
from tests.support.browser import CONTRAST, Tab, chromium
from tests.support.vault_simulator import OpenedCard, Simulator
from tests.vault.browser_page import ENDED, SHOWN, TEXT, BrowserPage, browser_page

pytestmark = [
    pytest.mark.check,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed (as root, `make check` installs it)"),
]

SHIFT = 8
FOCUSED = "document.activeElement.id || document.activeElement.getAttribute('aria-label')"
LEFT = "Number(document.getElementById('left').textContent)"
ADDED = "document.getElementById('added').textContent"
TOLD = "document.getElementById('told').textContent"
COPIED = "Copied. Your clipboard may keep a history."
CLEARED = "Clipboard cleared."
UNCLEARED = "The clipboard could not be cleared. Clear it yourself."
# Outside the card's face, or on another line than the first group.
CUT_GROUPS = """(() => { const face = document.querySelector('.face').getBoundingClientRect();
  const groups = [...document.querySelectorAll('.number .group')].map((one) => one.getBoundingClientRect());
  return groups.length < 4 || groups.some((one) => one.left < face.left || one.right > face.right
    || one.height > 60 || one.top !== groups[0].top); })()"""


@pytest.fixture
def page(browser: Tab, api: Simulator, card: OpenedCard) -> Iterator[BrowserPage]:
    with browser_page(browser, api, card) as open_page:
        open_page.open()
        yield open_page


@pytest.fixture
def copying(browser: Tab, api: Simulator, card: OpenedCard) -> Iterator[BrowserPage]:
    """A page with copy buttons."""
    with browser_page(browser, api, card, may_copy=True) as open_page:
        open_page.open(width=390)
        yield open_page


@pytest.fixture
def elsewhere(browser: Tab) -> Iterator[Tab]:
    """Another tab, into which the person pastes."""
    other = browser.another()
    other.call("Page.navigate", url="data:text/html,<textarea id=field></textarea>")
    other.until("document.getElementById('field') !== null")
    browser.call("Page.bringToFront")
    browser.until("document.hasFocus()")
    yield other
    other.close()


def paste(other: Tab) -> str:
    """Switch to the other tab, paste there, and return what was pasted."""
    other.call("Page.bringToFront")
    other.until("document.hasFocus()")
    other.evaluate("field.value = ''; field.focus()")
    for kind in ("keyDown", "keyUp"):
        given = {"commands": ["paste"]} if kind == "keyDown" else {}
        other.call("Input.dispatchKeyEvent", type=kind, key="v", **given)
    return str(other.evaluate("field.value"))


def move_clock(page: BrowserPage, seconds: float) -> None:
    """Advance the page's clock, by which it measures time."""
    page.tab.evaluate(f"(() => {{ const now = Date.now; Date.now = () => now() + {seconds * 1000}; }})()")


def show(page: BrowserPage) -> None:
    """Show the card, and wait until its heading has the focus."""
    page.answer()
    page.tab.until("document.activeElement.tagName === 'H1'")


def copy_elsewhere(other: Tab, text: str) -> None:
    """Switch to the other tab, and copy a text of its own there."""
    other.call("Page.bringToFront")
    other.until("document.hasFocus()")
    other.evaluate(f"field.value = {json.dumps(text)}; field.select()")
    other.call("Input.dispatchKeyEvent", type="keyDown", key="c", commands=["copy"])
    other.call("Input.dispatchKeyEvent", type="keyUp", key="c")


def return_to(page: BrowserPage) -> None:
    page.tab.call("Page.bringToFront")
    page.tab.until("document.hasFocus()")


def tab_to(page: BrowserPage, name: str) -> None:
    """Press Tab until the element with this id or label has the focus."""
    for _ in range(6):
        page.tab.press("Tab", 9)
        if page.tab.evaluate(FOCUSED) == name:
            return
    raise AssertionError(name)


def copy(page: BrowserPage, name: str) -> None:
    page.tab.evaluate(f"({TOLD}) && (document.getElementById('told').textContent = '')")
    tab_to(page, f"Copy {name}")
    page.enter()
    page.tab.until(f"{TOLD} !== ''")


def told(page: BrowserPage) -> str:
    return str(page.tab.evaluate(TOLD))


def until_told(page: BrowserPage, text: str) -> None:
    page.tab.until(f"{TOLD} === {json.dumps(text)}")


def test_one_press_adds_sixty_seconds_and_removes_the_button(page: BrowserPage) -> None:
    page.tab.watch_console()
    show(page)
    tab_to(page, "more")
    page.enter()
    page.tab.until(f"{ADDED} === '60 seconds added.'")
    assert 80 < page.tab.evaluate(LEFT) <= 90
    assert page.tab.evaluate("document.getElementById('more')") is None
    assert page.tab.evaluate(FOCUSED) == "hide"
    move_clock(page, 60)
    page.tab.until(f"{LEFT} <= 30")
    assert page.shows_number()
    move_clock(page, 31)
    page.tab.until(f"!({SHOWN})")
    assert (page.shows_number(), page.tab.console) == (False, [])


def test_the_vault_gives_a_page_more_time_only_once(page: BrowserPage) -> None:
    show(page)
    body = "new URLSearchParams(new FormData(document.getElementById('adding'))).toString()"
    headers = "{'Content-Type': 'application/x-www-form-urlencoded'}"
    ask = f"fetch(document.getElementById('adding').action, {{method: 'POST', headers: {headers}, body: {body}}})"
    asked = page.tab.call("Runtime.evaluate", expression=f"{ask}.then((one) => one.status)", awaitPromise=True)
    assert asked["result"]["value"] == 200
    page.tab.evaluate("document.getElementById('more').click()")
    page.tab.until(f"{ADDED} === 'No time could be added.'")
    assert page.tab.evaluate(LEFT) <= 30
    assert page.tab.evaluate("document.getElementById('more')") is None


def test_a_vault_that_has_ended_adds_no_time_and_the_card_hides_as_planned(page: BrowserPage) -> None:
    show(page)
    page.reply()
    page.vault.cancel()
    page.tab.until("fetch(location.href).then(() => 0, () => { window.gone = true; }), window.gone")
    page.tab.evaluate("document.getElementById('more').click()")
    page.tab.until(f"{ADDED} === 'No time could be added.'")
    move_clock(page, 30)
    page.tab.until(f"!({SHOWN})")


def test_more_time_works_without_scripts(browser: Tab, api: Simulator, card: OpenedCard) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        with browser_page(browser, api, card, may_copy=True) as page:
            page.open()
            show(page)
            # Only a script can copy.
            assert browser.evaluate("[...document.querySelectorAll('.copy button')].every((one) => one.hidden)")
            tab_to(page, "more")
            page.enter()
            # The browser keeps the page until the response arrives, at the end of the added time.
            browser.press("Tab", 9, modifiers=SHIFT)
            page.enter()
            browser.until(ENDED)
            assert not page.shows_number()
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_number_and_code_are_copied_and_the_clipboard_is_emptied_on_return(
    copying: BrowserPage, elsewhere: Tab, card: OpenedCard
) -> None:
    copying.tab.watch_console()
    show(copying)
    for name, value in (("card number", card.number), ("CVC", card.code)):
        copy(copying, name)
        assert told(copying) == COPIED
        assert paste(elsewhere) == value
        assert told(copying) == COPIED
        copying.tab.call("Page.bringToFront")
        until_told(copying, CLEARED)
        assert paste(elsewhere) == ""
        copying.tab.call("Page.bringToFront")
    assert (copying.tab.console, copying.shows_number()) == ([], True)


def test_a_page_that_copied_nothing_leaves_the_clipboard_alone(copying: BrowserPage, elsewhere: Tab) -> None:
    show(copying)
    copy_elsewhere(elsewhere, "of the person")
    return_to(copying)
    move_clock(copying, 30)
    copying.tab.until(f"!({SHOWN})")
    assert (paste(elsewhere), told(copying)) == ("of the person", "")


def test_the_clipboard_is_emptied_once(copying: BrowserPage, elsewhere: Tab) -> None:
    show(copying)
    copy(copying, "CVC")
    paste(elsewhere)
    copying.tab.call("Page.bringToFront")
    until_told(copying, CLEARED)
    copy_elsewhere(elsewhere, "of the person")
    return_to(copying)
    move_clock(copying, 30)
    copying.tab.until(f"!({SHOWN})")
    assert paste(elsewhere) == "of the person"


def test_the_clipboard_is_emptied_when_the_time_of_a_focused_page_ends(copying: BrowserPage, elsewhere: Tab) -> None:
    show(copying)
    copy(copying, "card number")
    move_clock(copying, 30)
    copying.tab.until(f"!({SHOWN})")
    until_told(copying, CLEARED)
    assert paste(elsewhere) == ""


def test_a_page_that_ends_in_the_background_empties_the_clipboard_on_return(
    copying: BrowserPage, elsewhere: Tab, card: OpenedCard
) -> None:
    show(copying)
    copy(copying, "card number")
    elsewhere.call("Page.bringToFront")
    move_clock(copying, 30)
    copying.tab.until(f"!({SHOWN})")
    assert (told(copying), paste(elsewhere)) == (COPIED, card.number)
    copying.tab.call("Page.bringToFront")
    until_told(copying, CLEARED)
    assert paste(elsewhere) == ""


def test_hiding_the_card_leaves_what_was_copied_until_the_return(
    copying: BrowserPage, elsewhere: Tab, card: OpenedCard
) -> None:
    show(copying)
    copy(copying, "card number")
    tab_to(copying, "hide")
    copying.enter()
    copying.tab.until(f"!({SHOWN})")
    assert (told(copying), paste(elsewhere)) == (COPIED, card.number)
    copying.tab.call("Page.bringToFront")
    until_told(copying, CLEARED)


def test_the_page_says_that_it_could_not_empty_the_clipboard_and_tries_again(
    copying: BrowserPage, elsewhere: Tab, card: OpenedCard
) -> None:
    show(copying)
    copy(copying, "card number")
    elsewhere.call("Page.bringToFront")
    allowed = "Clipboard.prototype.allowed = Clipboard.prototype.writeText;"
    copying.tab.evaluate(f"{allowed} Clipboard.prototype.writeText = () => Promise.reject(new Error('no'))")
    copying.tab.call("Page.bringToFront")
    until_told(copying, UNCLEARED)
    assert paste(elsewhere) == card.number
    copying.tab.call("Page.bringToFront")
    copying.tab.until("document.hasFocus()")
    until_told(copying, UNCLEARED)
    copying.tab.evaluate("Clipboard.prototype.writeText = Clipboard.prototype.allowed; document.body.click()")
    until_told(copying, CLEARED)
    assert paste(elsewhere) == ""


def test_the_page_says_that_it_could_not_copy(copying: BrowserPage) -> None:
    show(copying)
    copying.tab.evaluate("Clipboard.prototype.writeText = () => Promise.reject(new Error('no'))")
    copy(copying, "CVC")
    assert told(copying) == "Nothing was copied. Your browser forbids it."


def test_without_the_policys_permission_nothing_can_write_the_clipboard(page: BrowserPage) -> None:
    show(page)
    assert page.tab.evaluate("document.querySelectorAll('.copy, #copying').length") == 0
    assert page.tab.evaluate("document.scripts.length") == 1
    write = "navigator.clipboard.writeText('x').then(() => 'written', (error) => error.name)"
    found = page.tab.call("Runtime.evaluate", expression=write, awaitPromise=True, userGesture=True)
    assert found["result"]["value"] == "NotAllowedError"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_every_state_is_accessible_and_fits(
    browser: Tab, api: Simulator, card: OpenedCard, axe: str, width: int, dark: bool
) -> None:
    def judge(state: str) -> None:
        assert browser.evaluate("document.documentElement.scrollWidth") <= width, state
        assert browser.evaluate(CONTRAST)[0] >= 4.5, (state, browser.evaluate(CONTRAST))
        assert violations(browser, axe) == [], state

    with browser_page(browser, api, card, may_copy=True, environment="embedded") as page:
        browser.watch_console()
        page.open(width=width, dark=dark)
        judge("question")
        assert not browser.evaluate(CUT_GROUPS)
        # The brand is at the top of the sheet and nowhere else.
        assert browser.evaluate("document.querySelector('main').innerText.match(/machines/gi).length") == 1
        show(page)
        judge("card")
        assert not browser.evaluate(CUT_GROUPS)
        assert browser.evaluate("document.querySelector('main').innerText.match(/machines|visa/gi).join()") == (
            "Machines,VISA"
        )
        heights = "[...document.querySelectorAll('button')].map((one) => one.offsetHeight)"
        assert min(browser.evaluate(heights)) >= 44
        copy(page, "card number")
        judge("copied")
        tab_to(page, "more")
        page.enter()
        page.tab.until(f"{ADDED} === '60 seconds added.'")
        judge("more time")
        tab_to(page, "hide")
        page.enter()
        browser.until(f"!({SHOWN})")
        judge("hidden")
        assert f"ending {card.last4}" not in browser.evaluate(TEXT)
        assert browser.console == []
