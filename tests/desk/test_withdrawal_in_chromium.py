"""Test the page of a withdrawal in Chromium, with a wallet put into the page as an extension does it."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from machines_mcp.chain import evm
from machines_mcp.chain.order import read_order
from machines_mcp.desk.withdrawal_pages import SentResult
from tests.chain.answers import CHAIN, answer, parameters
from tests.support.axe import axe_source, violations
from tests.support.browser import CONTRAST, Tab, chromium, tab
from tests.support.browser_wallet import PROVIDER, BrowserWallet
from tests.support.clock import Clock
from tests.support.running_desk import RunningDesk, running_desk
from tests.support.withdrawal_pages import ADMIN, HASH, PATH, SALT, STRANGER, PlannedWithdrawals, approved

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.check,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed (as root, `make check` installs it)"),
]

# Time that a test moves. The page counts down by it.
CLOCK = """window.ahead = 0; const now = performance.now.bind(performance);
performance.now = () => now() + window.ahead;"""
BUTTON = "document.querySelector('#wallets button')"
TOLD = "document.getElementById('told').textContent"
STATE = "document.getElementById('status').textContent"


def loaded(state: str) -> str:
    """Return whether the page is loaded, with its script, and in this state."""
    return f"document.readyState === 'complete' && {STATE} === '{state}'"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    program = chromium()
    assert program is not None
    with tab(program, tmp_path_factory.mktemp("profile")) as opened:
        opened.call("Page.enable")
        opened.call("Page.addScriptToEvaluateOnNewDocument", source=CLOCK + PROVIDER)
        opened.call("Emulation.setScrollbarsHidden", hidden=True)
        yield opened


@pytest.fixture
def withdrawals() -> PlannedWithdrawals:
    return PlannedWithdrawals(Clock())


@pytest.fixture
async def desk(tmp_path: Path, withdrawals: PlannedWithdrawals) -> AsyncIterator[RunningDesk]:
    more: dict[str, Any] = {"clock": withdrawals.clock, "withdrawals": withdrawals}
    async with running_desk(tmp_path / "state", "embedded", **more) as opened:
        withdrawals.approval_id = await approved(opened)
        yield opened


async def in_thread(look: Callable[[], Any]) -> Any:
    return await anyio.to_thread.run_sync(look)


def opened(page: Tab, desk: RunningDesk, width: int = 1280, dark: bool = False) -> None:
    page.open(desk.address.rstrip("/") + PATH, width=width, dark=dark)


def opened_with(page: Tab, desk: RunningDesk, wallets: list[str]) -> None:
    """Open the page on a phone, in a browser with these wallets."""
    source = f"window.announced = {json.dumps(wallets)};"
    script = page.call("Page.addScriptToEvaluateOnNewDocument", source=source)
    opened(page, desk, width=320)
    page.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script["identifier"])


def clicked(page: Tab, wallet: BrowserWallet, until: str) -> list[Any]:
    """Click the wallet's button, answer as the wallet, and return what the page says then, and its buttons."""
    page.evaluate(f"{BUTTON}.click()")
    wallet.serve(page, until)
    buttons = "[...document.querySelectorAll('#wallets button')].map((one) => one.disabled)"
    page.until(f"!{buttons}.includes(true)")
    return [page.evaluate(TOLD), page.evaluate(buttons)]


@pytest.mark.parametrize("path", ["coordinator_v2", "controller_v1"])
async def test_a_click_signs_and_sends_what_the_server_planned(
    desk: RunningDesk, withdrawals: PlannedWithdrawals, page: Tab, path: str
) -> None:
    withdrawals.path = path
    wallet = BrowserWallet(ADMIN, CHAIN)

    def look() -> list[Any]:
        page.watch_console()
        opened(page, desk)
        label = page.evaluate(f"{BUTTON}.textContent")
        page.evaluate(f"{BUTTON}.click()")
        wallet.serve(page, loaded("Done"))
        shown = page.evaluate("document.querySelector('#shown-hash').textContent")
        left = page.evaluate("document.querySelectorAll('#wallets, #report, #act').length")
        return [label, shown, left, page.evaluate("document.querySelector('.outcome').textContent"), page.console]

    label, shown, left, outcome, console = await in_thread(look)
    signs = path == "coordinator_v2"
    assert label == ("Sign with Test Wallet" if signs else "Send with Test Wallet")
    assert wallet.asked == [
        "eth_requestAccounts",
        "eth_chainId",
        *(["eth_signTypedData_v4"] if signs else []),
        "eth_sendTransaction",
    ]
    (sent,) = wallet.sent
    stored = answer(path, parameters=parameters(p4=withdrawals.expires_at), expires_at=withdrawals.expires_at)
    order = read_order(stored)
    signatures = [evm.canonical(bytes.fromhex(one[2:])) for one in withdrawals.signatures]
    found = evm.decoded(bytes.fromhex(sent["data"][2:]))
    assert evm.differences(found, order, [SALT] if signs else [], signatures) == []
    assert (sent["to"], sent["from"], sent["value"]) == (order.target, ADMIN.address, "0x0")
    assert withdrawals.hashes == [wallet.transaction_hash] == [shown]
    assert (left, outcome) == (0, "The transaction is in block 7. $100.50 was sent.")
    assert console == []


async def test_a_wallet_on_another_network_is_switched_first(
    desk: RunningDesk, withdrawals: PlannedWithdrawals, page: Tab
) -> None:
    wallet = BrowserWallet(ADMIN, 1)

    def look() -> None:
        opened(page, desk)
        page.evaluate(f"{BUTTON}.click()")
        wallet.serve(page, loaded("Done"))

    await in_thread(look)
    assert wallet.asked[:5] == [
        "eth_requestAccounts",
        "eth_chainId",
        "wallet_switchEthereumChain",
        "eth_chainId",
        "eth_signTypedData_v4",
    ]


REFUSALS: list[tuple[dict[str, Any], str, int]] = [
    ({"account": STRANGER}, f"The wallet shows {STRANGER.address.lower()}, but {ADMIN.address} must sign.", 1),
    ({"chain_id": 1, "knows": (1,)}, f"The wallet does not know the network with the chain id {CHAIN}.", 3),
    ({"chain_id": 1, "stays": True}, f"The wallet is on another network. Choose the one with the chain id {CHAIN}", 4),
    ({"decline": ("eth_requestAccounts",)}, "You declined in the wallet. Nothing was sent.", 1),
    ({"chain_id": 1, "decline": ("wallet_switchEthereumChain",)}, "You declined in the wallet. Nothing was sent.", 3),
    ({"decline": ("eth_signTypedData_v4",)}, "You declined in the wallet. Nothing was sent.", 3),
    ({"decline": ("eth_sendTransaction",)}, "You declined in the wallet. Nothing was sent.", 4),
    ({"signs_with": STRANGER}, "Another account signed this. Choose the sending account in the wallet.", 3),
]


async def test_whatever_goes_wrong_is_said_and_the_button_stays(
    desk: RunningDesk, withdrawals: PlannedWithdrawals, page: Tab
) -> None:
    for changes, words, requests in REFUSALS:
        given: dict[str, Any] = {"account": ADMIN, "chain_id": CHAIN, **changes}
        wallet = BrowserWallet(**given)

        def look(wallet: BrowserWallet = wallet, words: str = words) -> list[Any]:
            opened(page, desk)
            return clicked(page, wallet, f"{TOLD}.startsWith({words!r})")

        said, buttons = await in_thread(look)
        assert said.startswith(words) and buttons == [False], words
        assert len(wallet.asked) == requests and wallet.sent == [], words
    assert withdrawals.hashes == []


async def test_after_a_refusal_the_next_click_goes_on_where_it_stopped(
    desk: RunningDesk, withdrawals: PlannedWithdrawals, page: Tab
) -> None:
    wallet = BrowserWallet(ADMIN, CHAIN, decline=("eth_sendTransaction",))

    def look() -> None:
        opened(page, desk)
        clicked(page, wallet, f"{TOLD}.startsWith('You declined')")
        wallet.decline = ()
        page.evaluate(f"{BUTTON}.click()")
        wallet.serve(page, loaded("Done"))

    await in_thread(look)
    assert wallet.asked.count("eth_signTypedData_v4") == 1 and len(wallet.sent) == 1


async def test_an_expiry_while_the_page_is_open_removes_the_buttons(
    desk: RunningDesk, withdrawals: PlannedWithdrawals, page: Tab
) -> None:
    def look() -> list[Any]:
        opened(page, desk)
        first = page.evaluate("document.getElementById('left').textContent")
        page.evaluate("window.ahead = 24 * 60 * 1000")
        page.until("document.getElementById('deadline').classList.contains('soon')")
        page.evaluate("window.ahead = 26 * 60 * 1000")
        page.until(loaded("Expired"))
        return [first, page.evaluate(TOLD), page.evaluate("document.querySelectorAll('#wallets, #report').length")]

    first, told, buttons = await in_thread(look)
    assert first.endswith("25:00 left.") or "24:5" in first
    assert (told.startswith("This withdrawal has expired"), buttons) == (True, 0)


async def test_a_withdrawal_that_expires_while_the_wallet_asks_is_not_sent(
    desk: RunningDesk, withdrawals: PlannedWithdrawals, page: Tab
) -> None:
    wallet = BrowserWallet(ADMIN, CHAIN, holds="eth_signTypedData_v4")

    def look() -> str:
        opened(page, desk)
        page.evaluate(f"{BUTTON}.click()")
        wallet.serve(page)
        page.evaluate("window.ahead = 26 * 60 * 1000")
        page.until(loaded("Expired"))
        withdrawals.clock.advance(26 * 60)
        wallet.holds = ""
        wallet.serve(page, f"{TOLD}.includes('Nothing was sent')")
        return str(page.evaluate(TOLD))

    assert await in_thread(look) == "This withdrawal has expired. Nothing was sent."
    assert wallet.sent == []


async def test_a_transaction_without_a_block_is_checked_again(
    desk: RunningDesk, withdrawals: PlannedWithdrawals, page: Tab
) -> None:
    withdrawals.reports = [SentResult("sent", "No block has the transaction yet."), SentResult("sent", "Still none.")]
    wallet = BrowserWallet(ADMIN, CHAIN)

    def look() -> str:
        opened(page, desk)
        page.evaluate(f"{BUTTON}.click()")
        wallet.serve(page, loaded("Sent"))
        page.evaluate("document.getElementById('again').click()")
        page.until(f"{TOLD} === 'Still none.'")
        page.until("!document.getElementById('again').disabled")
        page.evaluate("document.getElementById('again').click()")
        page.until(loaded("Done"))
        return str(page.evaluate("document.querySelector('#shown-hash').textContent"))

    assert await in_thread(look) == wallet.transaction_hash
    assert withdrawals.hashes == [wallet.transaction_hash] * 3


async def test_a_reverted_transaction_is_said_and_the_button_stays(
    desk: RunningDesk, withdrawals: PlannedWithdrawals, page: Tab
) -> None:
    withdrawals.reports = [SentResult("send", "The transaction failed and moved nothing. Send it again.")]
    wallet = BrowserWallet(ADMIN, CHAIN)

    def look() -> list[Any]:
        opened(page, desk)
        return clicked(page, wallet, f"{TOLD}.startsWith('The transaction failed')")

    said, buttons = await in_thread(look)
    assert (said, buttons) == ("The transaction failed and moved nothing. Send it again.", [False])


async def test_a_hash_can_be_typed(desk: RunningDesk, withdrawals: PlannedWithdrawals, page: Tab) -> None:
    def typed(text: str) -> None:
        page.evaluate(f"document.getElementById('hash').value = {text!r}")
        page.evaluate("document.querySelector('#report button').click()")

    def look() -> None:
        opened(page, desk)
        page.evaluate("document.querySelector('.approval details').open = true")
        typed("what is this")
        page.until(f"{TOLD}.startsWith('This is not a transaction hash')")
        page.until("!document.querySelector('#report button').disabled")
        typed(HASH)
        page.until(loaded("Done"))

    await in_thread(look)
    assert withdrawals.hashes == ["what is this", HASH]


async def test_a_desk_that_is_locked_meanwhile_says_so_and_keeps_the_hash(
    desk: RunningDesk, withdrawals: PlannedWithdrawals, page: Tab
) -> None:
    wallet = BrowserWallet(ADMIN, CHAIN, holds="eth_sendTransaction")

    def look() -> list[Any]:
        opened(page, desk)
        page.evaluate(f"{BUTTON}.click()")
        wallet.serve(page)
        page.call("Network.clearBrowserCookies")
        wallet.holds = ""
        wallet.serve(page, f"{TOLD}.startsWith('The desk was locked')")
        return [page.evaluate("document.querySelector('#shown-hash').textContent"), page.evaluate(TOLD)]

    shown, told = await in_thread(look)
    assert shown == wallet.transaction_hash
    assert told == "The desk was locked meanwhile. Reload this page and sign in."


async def test_without_a_wallet_the_page_says_what_to_do(desk: RunningDesk, page: Tab) -> None:
    def look() -> list[Any]:
        opened_with(page, desk, [])
        return [page.evaluate("document.getElementById('none').hidden"), page.evaluate(f"{BUTTON} === null")]

    assert await in_thread(look) == [False, True]


async def test_many_wallets_and_odd_names_are_listed_as_text(desk: RunningDesk, page: Tab) -> None:
    names = [
        "Test Wallet",
        "Rabby",
        "<img src=x onerror=alert(1)>",
        "W" * 200,
        *(f"Wallet {number}" for number in range(30)),
    ]

    def look() -> list[str]:
        opened_with(page, desk, names)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        return list(page.evaluate("[...document.querySelectorAll('#wallets button')].map((one) => one.textContent)"))

    found = await in_thread(look)
    assert len(found) == 12
    assert found[:3] == ["Sign with Test Wallet", "Sign with Rabby", "Sign with <img src=x onerror=alert(1)>"]
    assert found[3] == f"Sign with {'W' * 40}"


async def test_a_solana_transaction_is_copied_or_selected(
    desk: RunningDesk, withdrawals: PlannedWithdrawals, page: Tab
) -> None:
    withdrawals.view_changes = {"stage": "send", "typed_data": None, "transaction_base64": "AQAB" * 90}
    copies = "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (text) => { %s }}})"

    def look(body: str, words: str) -> Any:
        opened(page, desk)
        page.evaluate(copies % body)
        page.evaluate("document.getElementById('copy').click()")
        page.until(f"{TOLD}.startsWith({words!r})")
        return page.evaluate("window.copied ?? document.getSelection().toString()")

    assert await in_thread(lambda: look("window.copied = text", "Copied.")) == "AQAB" * 90
    assert await in_thread(lambda: look("throw new Error()", "Your browser does not allow")) == "AQAB" * 90


SCENES: dict[str, dict[str, Any]] = {
    "sign": {},
    "solana": {"stage": "send", "typed_data": None, "transaction_base64": "AQAAAAAAAAAAAAAA" * 62},
    "sent": {"stage": "sent", "typed_data": None, "transaction_hash": HASH},
    "done": {"stage": "done", "typed_data": None, "transaction_hash": HASH},
    "expired": {"stage": "expired", "typed_data": None},
    "blocked": {"stage": "blocked", "message": "The node of the chain did not answer in time. Nothing was sent."},
}


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return axe_source(tmp_path_factory.mktemp("axe"))


async def test_every_stage_fits_is_readable_and_accessible(
    desk: RunningDesk, withdrawals: PlannedWithdrawals, page: Tab, axe: str, tmp_path: Path
) -> None:
    pictures = Path(os.environ.get("MACHINES_TEST_PICTURES", tmp_path))

    def look(name: str, width: int, dark: bool) -> list[Any]:
        page.watch_console()
        opened(page, desk, width, dark)
        page.screenshot(pictures / f"{name}-{width}-{'dark' if dark else 'light'}.png")
        looked = [page.evaluate("document.documentElement.scrollWidth"), page.evaluate(CONTRAST)]
        return [*looked, violations(page, axe), list(page.console)]

    for name, changes in SCENES.items():
        withdrawals.view_changes = changes
        for width, dark in ((320, False), (390, True), (1280, False), (1280, True)):
            whole, (ratio, whose), bad, console = await in_thread(lambda: look(name, width, dark))  # noqa: B023
            assert whole <= width, (name, width)
            assert ratio >= 4.5, (name, whose)
            assert (bad, console) == ([], []), name
