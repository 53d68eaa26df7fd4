"""Take pictures of the views: `python -m tests.tools.view_pictures [folder] [--all]`.

Without `--all`, only those in the documentation; with it, every scene in both schemes and two widths.
"""

from __future__ import annotations

import base64
import sys
import tempfile
from pathlib import Path

import anyio

from tests.support.browser import chromium, tab
from tests.support.view_host import ViewHost, view_host
from tests.support.view_results import Result, view_results
from tests.tools.test_views_in_chromium import PAGES, SCENES, TITLED

FOLDER = Path("docs/pictures")
WIDE, PHONE = 720, 390
KEPT = (
    ("required", WIDE, "light"),
    ("required", PHONE, "dark"),
    ("verify", WIDE, "light"),
    ("card", WIDE, "light"),
    ("card", PHONE, "dark"),
)
ALL = tuple((name, width, theme) for name in SCENES for width in (PHONE, WIDE) for theme in ("light", "dark"))


def shoot(host: ViewHost, results: dict[str, Result], name: str, width: int, theme: str) -> bytes:
    """Return a picture of a scene, as tall as the view asked for."""
    uri, result, title = SCENES[name]
    host.show(PAGES[uri], width=width, theme=theme, result=results[result], answers={"status": results["status"]})
    host.until(f"{TITLED}.startsWith('{title}')")
    if title == "Waiting for a person":
        # The server's question comes after the title.
        host.until("document.body.innerText.includes('?')")
    # The fonts of this machine are no part of the page. Inter is close to those of most desktops.
    host.inside("document.body.style.fontFamily = 'Inter, system-ui, sans-serif'; null")
    tall = host.inside("Math.ceil(document.body.getBoundingClientRect().height)")
    host.page.until(f"document.querySelector('iframe').clientHeight === {tall}")
    clip = {"x": 0, "y": 0, "width": width, "height": tall, "scale": 1}
    return base64.b64decode(host.page.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"])


def main() -> None:
    names = [word for word in sys.argv[1:] if not word.startswith("--")]
    folder = Path(names[0]) if names else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    program = chromium()
    if program is None:
        raise SystemExit("Chromium is not installed.")
    with tempfile.TemporaryDirectory() as scratch:
        results = anyio.run(view_results, Path(scratch) / "state")
        with tab(program, Path(scratch) / "profile") as page, view_host(page, {}) as (host, _):
            page.call("Emulation.setScrollbarsHidden", hidden=True)
            for name, width, theme in ALL if "--all" in sys.argv else KEPT:
                size = {WIDE: "wide", PHONE: "phone"}[width]
                file = folder / f"view-{name}-{size}-{theme}.png"
                file.write_bytes(shoot(host, results, name, width, theme))
                print(f"{file}  {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
