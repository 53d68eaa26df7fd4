"""Take pictures of the desk's pages: `python -m tests.desk.pictures [folder] [--all]`.

Without `--all`, only those in the documentation; with it, every page in both schemes and three widths.
"""

from __future__ import annotations

import base64
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread

from tests.desk.scenes import busy_desk, waiting
from tests.support.browser import Tab, chromium, tab
from tests.support.browser_wallet import PROVIDER
from tests.support.clock import Clock
from tests.support.running_desk import PASSPHRASE, RunningDesk
from tests.support.withdrawal_pages import PATH as WITHDRAWAL
from tests.support.withdrawal_pages import PlannedWithdrawals, approved

FOLDER = Path("docs/pictures")
WIDE, PHONE = 1280, 390
KEPT = (
    ("home", WIDE, False),
    ("home", PHONE, True),
    ("change", WIDE, False),
    ("person", WIDE, False),
    ("reveal", PHONE, True),
    ("kyc", WIDE, True),
    ("kyc-faults", PHONE, False),
    ("locked", WIDE, False),
    ("locked", PHONE, True),
    ("audit", WIDE, False),
    ("audit", PHONE, True),
    ("sign-in", PHONE, False),
    ("withdrawal-sign", WIDE, False),
    ("withdrawal-sign", PHONE, True),
)
ALL = tuple(
    (name, width, dark)
    for name in (
        "sign-in",
        "home",
        "decision",
        "change",
        "person",
        "reveal",
        "close",
        "consent",
        "kyc",
        "kyc-faults",
        "audit",
        "freeze",
        "locked",
        "empty",
        "missing",
        "withdrawal-sign",
    )
    for width in (PHONE, 768, WIDE)
    for dark in (False, True)
)

FILL = """(values) => { for (const [name, value] of Object.entries(values)) {
  const found = document.querySelector(`[name="${name}"]:not([type=radio]):not([type=hidden])`);
  if (found) found.value = value; } }"""
SOME = {
    "first_name": "Grace",
    "last_name": "Hopper",
    "birth_date": "1906-12-09",
    "country_of_issue": "US",
    "email": "grace@example",
    "address_line1": "2 Harbor Road",
    "address_city": "Arlington",
    "occupation": "",
}


class PageDriver:
    """A person in a browser without scripts, driven by the DevTools protocol."""

    def __init__(self, page: Tab, desk: RunningDesk, ids: dict[str, str]) -> None:
        self._tab, self._home, self._ids = page, desk.address.rstrip("/"), ids

    def sign_in(self) -> None:
        self._tab.open(f"{self._home}/", width=WIDE, dark=False)
        self._tab.evaluate(f"document.querySelector('#passphrase').value = {PASSPHRASE!r}")
        self.press("form[action$='/sign-in'] button", "document.querySelector('nav[aria-label=Desk]')")

    def go(self, name: str, width: int, dark: bool) -> None:
        """Open a page in the state that the picture shows."""
        self._tab.call("Emulation.setScrollbarsHidden", hidden=True)
        self._tab.open(self._home + self.path(name), width=width, dark=dark)
        if name == "kyc-faults":
            self._tab.evaluate(f"({FILL})({SOME!r})")
            self.press("main form button", "document.querySelector('.problems')")

    def press(self, button: str, until: str) -> None:
        self._tab.evaluate(f'document.querySelector("{button}").click()')
        self._tab.until(f"document.readyState === 'complete' && !!({until})")

    def shoot(self, file: Path, width: int, *, whole: bool) -> None:
        """Take a picture of the page: `whole`, or cut to a readable height."""
        # The fonts of this machine are no part of the page. Inter is close to those of most desktops.
        self._tab.evaluate("document.body.style.fontFamily = 'Inter, system-ui, sans-serif'")
        tall = self._tab.evaluate("document.documentElement.scrollHeight")
        height = tall if whole else min(tall, 1_400 if width == PHONE else 1_100)
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        image = self._tab.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        file.write_bytes(base64.b64decode(image))

    def path(self, name: str) -> str:
        places = {"decision": "/decisions/{money}", "kyc": "/kyc/{identity}", "kyc-faults": "/kyc/{identity}"}
        places |= {name: f"/decisions/{{{name}}}" for name in ("change", "person", "reveal", "close", "consent")}
        places |= {
            "withdrawal-sign": WITHDRAWAL,
            "audit": "/audit",
            "freeze": "/freeze",
            "locked": "/locked",
            "missing": "/nowhere",
            "decided": "/decisions/{refused}",
        }
        return places.get(name, "/").format_map(self._ids)


async def take(folder: Path, wanted: tuple[tuple[str, int, bool], ...]) -> list[Path]:
    """Write the pictures into the folder and return their paths."""
    program = chromium()
    if program is None:
        raise SystemExit("Chromium is not installed.")
    made = list[Path]()
    with tempfile.TemporaryDirectory() as scratch:
        withdrawals = PlannedWithdrawals(Clock())
        async with busy_desk(Path(scratch) / "state", withdrawals=withdrawals) as desk:
            with tab(program, Path(scratch) / "profile") as page:
                page.call("Page.enable")
                page.call("Page.addScriptToEvaluateOnNewDocument", source=PROVIDER)

                def shoot(driver: PageDriver, name: str, width: int, dark: bool) -> Path:
                    driver.go(name, width, dark)
                    size = {WIDE: "wide", PHONE: "phone"}.get(width, str(width))
                    file = folder / f"desk-{name}-{size}-{'dark' if dark else 'light'}.png"
                    # The form ends with the passphrase and the button.
                    driver.shoot(file, width, whole=wanted is ALL or name == "locked")
                    return file

                async def shoot_all(driver: PageDriver, wants: Callable[[str], bool]) -> None:
                    for name, width, dark in wanted:
                        if wants(name):
                            made.append(await anyio.to_thread.run_sync(shoot, driver, name, width, dark))

                early = PageDriver(page, desk, {})
                await shoot_all(early, lambda name: name == "sign-in")
                await anyio.to_thread.run_sync(early.sign_in)
                await shoot_all(early, lambda name: name == "empty")
                ids = {name: approval.id for name, approval in (await waiting(desk)).items()}
                driver = PageDriver(page, desk, ids)
                await shoot_all(driver, lambda name: name not in ("sign-in", "empty", "withdrawal-sign"))
                # Last, because the other pages list what was approved.
                withdrawals.approval_id = await approved(desk)
                withdrawals.expires_at = int(desk.clock()) + withdrawals.seconds
                await shoot_all(driver, lambda name: name == "withdrawal-sign")
    return made


def main() -> None:
    names = [word for word in sys.argv[1:] if not word.startswith("--")]
    folder = Path(names[0]) if names else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for file in anyio.run(take, folder, ALL if "--all" in sys.argv else KEPT):
        print(f"{file}  {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
