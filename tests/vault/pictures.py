"""Take pictures of the vault's page: `python -m tests.vault.pictures [folder] [--all]`.

Without `--all`, only those in the documentation; with it, every state in both schemes, wide and narrow.

No picture contains a card number: its digits are replaced before they are blurred.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.support.browser import Tab, chromium, tab
from tests.support.vault_simulator import Simulator, simulator
from tests.vault.browser_page import SHOWN, BrowserPage, browser_page

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
WIDTH, PHONE = 760, 360
KEPT = ("ask-desktop-light", "wrong-phone-light", "ask-phone-dark", "card-desktop-dark", "card-phone-light")

# Zeros first, so that even the blur is not made from a card number.
_BLUR = """(() => { for (const one of document.querySelectorAll('.face .group, .face div:not(.number) dd:not(.copy)')) {
  one.textContent = one.textContent.replace(/[0-9]/g, '0'); one.style.filter = 'blur(6px)'; } })()"""
_WHOLE = "Math.ceil(document.querySelector('main').getBoundingClientRect().bottom + 32)"


def draw(folder: Path, *, every: bool) -> None:
    """Write the pictures."""
    program = chromium()
    if program is None:
        sys.exit("Chromium is not installed.")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile, simulator() as api, tab(program, Path(profile)) as browser:
        for width, dark in ((WIDTH, False), (WIDTH, True), (PHONE, False), (PHONE, True)):
            _draw_one(folder, browser, api, width, dark)
    for file in folder.glob("vault-*.png"):
        if not every and file.stem.removeprefix("vault-") not in KEPT:
            file.unlink()


def _draw_one(folder: Path, browser: Tab, api: Simulator, width: int, dark: bool) -> None:
    name = f"{'phone' if width == PHONE else 'desktop'}-{'dark' if dark else 'light'}"
    with browser_page(
        browser, api, api.card(f"grace-{width}-{int(dark)}"), asked_by="Claude Code 2.1", environment="embedded"
    ) as page:
        browser.call("Emulation.setScrollbarsHidden", hidden=True)
        page.open(width=width, dark=dark)
        _shoot(page, folder / f"vault-ask-{name}.png", width)
        page.type("not my passphrase")
        page.enter()
        browser.until("document.querySelector('[role=alert]') !== null")
        _shoot(page, folder / f"vault-wrong-{name}.png", width)
        page.answer()
        browser.evaluate(_BLUR)
        _shoot(page, folder / f"vault-card-{name}.png", width)
        browser.evaluate("document.getElementById('hide').click()")
        browser.until(f"!({SHOWN})")
        _shoot(page, folder / f"vault-hidden-{name}.png", width)


def _shoot(page: BrowserPage, file: Path, width: int) -> None:
    # The fonts of this machine are no part of the page. Inter is close to those of most desktops.
    page.tab.evaluate("document.body.style.fontFamily = 'Inter, system-ui, sans-serif'")
    height = page.tab.evaluate(_WHOLE)
    page.tab.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    if "card" in file.stem and page.shows_number():
        sys.exit("A picture would have shown a card's number.")
    page.tab.screenshot(file)


if __name__ == "__main__":
    folders = [Path(given) for given in sys.argv[1:] if given != "--all"]
    draw(folders[0] if folders else FOLDER, every="--all" in sys.argv)
