"""A withdrawal to its end on chain with a wallet in a browser: a click by the person, on the page that the tool names.

The server runs over stdio, on the simulator with its chains, and Chromium opens its desk.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from tests.support.browser import Tab, chromium, tab
from tests.support.browser_wallet import PROVIDER, BrowserWallet
from tests.support.wallets import wallet

if sys.version_info >= (3, 13):
    pytest.skip("pyrevm has no wheels for this Python", allow_module_level=True)

from tests.journeys.test_withdrawal_on_chain import BASE, ETHEREUM, TO, UNITS, Journey, journey

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.check,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed (as root, `make check` installs it)"),
]

STATE = "document.readyState === 'complete' && document.getElementById('status').textContent"
TOLD = "document.getElementById('told').textContent"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Tab]:
    program = chromium()
    assert program is not None
    with tab(program, tmp_path / "profile") as opened:
        opened.call("Page.enable")
        opened.call("Page.addScriptToEvaluateOnNewDocument", source=PROVIDER)
        yield opened


def in_the_browser(j: Journey, **more: Any) -> BrowserWallet:
    """Return the wallet of the journey as one in the browser, on another network."""
    assert j.endpoint.wallet is not None
    account = wallet(int(j.endpoint.wallet.private_key.expose(), 16))
    return BrowserWallet(account, 1, sends=j.wallet.send, **more)


@pytest.mark.parametrize("chain", [BASE, ETHEREUM], ids=["coordinator_v2", "controller_v1"])
async def test_one_click_moves_the_money_and_the_agent_sees_it(tmp_path: Path, page: Tab, chain: int) -> None:
    async with journey(tmp_path / "state", "2026-07-28", chain) as j:
        known = {"withdrawal_id": await j.ready()}
        planned = await j.user.call("get_withdrawal_transaction", known)
        held = in_the_browser(j)

        def click() -> list[Any]:
            page.watch_console()
            page.open(planned["sign_at"], width=1280, dark=False)
            page.evaluate("document.querySelector('#wallets button').click()")
            held.serve(page, f"{STATE} === 'Done'")
            return list(page.console)

        assert await anyio.to_thread.run_sync(click) == []
        assert j.balance(TO) == UNITS
        assert len(held.sent) == 1
        done = await j.user.call("get_withdrawal_transaction", known)
        assert (done["stage"], done["next_steps"][0]["tool"]) == ("done", "get_balances")


async def test_a_signature_by_another_key_moves_nothing_and_can_be_made_again(tmp_path: Path, page: Tab) -> None:
    async with journey(tmp_path / "state", "2026-07-28", BASE) as j:
        planned = await j.user.call("get_withdrawal_transaction", withdrawal_id=await j.ready())
        held = in_the_browser(j, signs_with=wallet(92))

        def click() -> str:
            page.open(planned["sign_at"], width=1280, dark=False)
            page.evaluate("document.querySelector('#wallets button').click()")
            held.serve(page, f"{TOLD} && document.querySelector('#told.bad') !== null")
            said = str(page.evaluate(TOLD))
            held.signs_with = None
            page.until("!document.querySelector('#wallets button').disabled")
            page.evaluate("document.querySelector('#wallets button').click()")
            held.serve(page, f"{STATE} === 'Done'")
            return said

        said = await anyio.to_thread.run_sync(click)
        assert "signature" in said or "signed" in said
        assert len(held.sent) == 1 and j.balance(TO) == UNITS
