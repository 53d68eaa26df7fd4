"""The control page in Chromium: works by keyboard, is readable in both color schemes, and fits a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.axe import axe_source, violations
from tests.support.browser import CONTRAST, Tab, chromium, tab
from tests.support.running_sandbox import in_thread
from tests.support.sandbox_caller import KYC_SCOPES, SandboxClient, kyc_form

pytestmark = [
    pytest.mark.check,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed (as root, `make check` installs it)"),
]


@pytest.fixture(scope="module")
def board() -> Iterator[SandboxClient]:
    with in_thread() as started:
        caller = SandboxClient(started)
        for _ in range(50):
            caller.session(caller.new_user(), "kyc.read")
        user = caller.funded_user(40)
        user.new_card()
        user.call("POST", "/deposits", {"currency": "xrp", "network": "ripple", "amount": 50})
        caller.control("/faults", {"kind": "drop", "path": "/withdrawals", "calls": 3})
        yield caller
        caller.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    program = chromium()
    assert program is not None
    with tab(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def pending_user(board: SandboxClient) -> str:
    """Create a user who waits for a KYC decision."""
    user_id = board.new_user()
    board.call("POST", "/kyc/applications", kyc_form(lastName="Smith"), token=board.session(user_id, *KYC_SCOPES))
    return user_id


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return axe_source(tmp_path_factory.mktemp("axe"))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_violations_on_the_page_with_and_without_users(
    board: SandboxClient, browser: Tab, axe: str, width: int, dark: bool
) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    pending_user(board)
    with in_thread() as empty:
        for address in (
            board.sandbox.control_url,
            f"{board.sandbox.control_url}?done=spend+declined",
            empty.control_url,
        ):
            browser.open(address, width=width, dark=dark)
            browser.evaluate("document.querySelector('details').open = true")
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
            assert violations(browser, axe) == [], address


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_page_is_readable_and_fits_the_screen(
    board: SandboxClient, browser: Tab, tmp_path: Path, width: int, dark: bool
) -> None:
    pending_user(board)
    browser.open(board.sandbox.control_url, width=width, dark=dark)
    browser.screenshot(tmp_path / "board.png")
    assert (tmp_path / "board.png").stat().st_size > 10_000
    assert browser.evaluate("document.querySelector('.hint a').textContent") == "Show older users"
    assert browser.evaluate("getComputedStyle(document.querySelector('.rows')).borderRadius") == "16px"
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    page = "rgb(16, 18, 21)" if dark else "rgb(244, 245, 247)"
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == page
    ratio, whose = browser.evaluate(CONTRAST)
    assert ratio >= 4.5, whose
    heights = (
        "[...document.querySelectorAll('a, button, summary, select, input:not([type=hidden])')]"
        ".map((one) => one.offsetHeight).filter((height) => height)"
    )
    assert min(browser.evaluate(heights)) >= 44


def test_user_can_be_approved_by_keyboard_alone(board: SandboxClient, browser: Tab) -> None:
    user_id = pending_user(board)
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(board.sandbox.control_url, width=390, dark=False)
    for _ in range(200):
        browser.press("Tab", 9)
        if browser.evaluate("document.activeElement.getAttribute('aria-label')") == f"Approve KYC: {user_id}":
            break
    assert browser.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"
    browser.press("Enter", 13, "\r")
    browser.until(
        f"![...document.querySelectorAll('button')].some((one) => one.ariaLabel === 'Approve KYC: {user_id}')"
    )
    statuses = {user["userId"]: user["kycStatus"] for user in board.control("")["users"]}
    assert statuses[user_id] == "approved"
