"""Take the demo's picture from a run in a terminal: `python -m tests.docs.pictures [folder]`."""

from __future__ import annotations

import base64
import fcntl
import os
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable
from contextlib import suppress
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.support.browser import chromium, tab

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "pictures"
COLUMNS, ROWS = 100, 60
RUN_SECONDS = 120
# The text after this line contains paths of the local machine.
END = "Use it in Claude Desktop"
TITLE = "machines-mcp demo"
# rich's drawing without the font that it would download. At 21 px the lines of a box meet.
DRAWING = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 21px;
  line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g></svg>"""
PAGE = "<!doctype html><meta charset=utf-8><style>body{margin:0} svg{display:block}</style>"


def terminal_output() -> str:
    """Run the demo in a terminal and return its output, including escape codes."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("MACHINES_") and name != "NO_COLOR"
    }
    env = kept | {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "machines_mcp", "demo"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=theirs, env=env, cwd=ROOT) as process:
        os.close(theirs)
        found = b""
        with open(ours, "rb", buffering=0) as terminal, suppress(OSError):  # The read fails at the end of the terminal.
            while piece := terminal.read(4096):
                found += piece
        if process.wait(RUN_SECONDS):
            raise SystemExit("The demo did not end well.")
    return found.decode().replace("\r\n", "\n")


def drawing(shown: str) -> str:
    """Draw the output as SVG, up to the first path of the local machine."""
    lines = Text.from_ansi(shown).split("\n")
    last = next(number for number, line in enumerate(lines) if END in line.plain)
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True, legacy_windows=False)
    for line in lines[:last]:
        console.print(line, soft_wrap=True)
    return console.export_svg(title=TITLE, code_format=DRAWING, unique_id="demo")


def take_picture(folder: Path) -> Path:
    """Save the picture in the folder and return its path."""
    return save_picture(PAGE + drawing(terminal_output()), "svg", folder / "demo.png", width=1240, dark=True)


def save_picture(page: str, whole: str, file: Path, *, width: int, dark: bool) -> Path:
    """Save the picture of a page, down to the end of the element that the selector `whole` finds."""
    program = chromium()
    if program is None:
        raise SystemExit("Chromium is not installed.")
    with tempfile.TemporaryDirectory() as scratch:
        shown = Path(scratch) / "page.html"
        shown.write_text(page, encoding="utf-8")
        with tab(program, Path(scratch) / "profile") as browser:
            browser.open(shown.as_uri(), width=width, dark=dark)
            bottom = f"document.querySelector('{whole}').getBoundingClientRect().bottom"
            margin = "parseFloat(getComputedStyle(document.body).paddingBottom)"
            clip = {"x": 0, "y": 0, "width": width, "height": browser.evaluate(f"{bottom} + {margin}"), "scale": 1}
            image = browser.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
    file.write_bytes(base64.b64decode(image))
    return file


def run(take: Callable[[Path], Path]) -> None:
    """Take a picture in the folder that the command names, or in docs/pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    file = take(folder)
    print(f"{file}  {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    run(take_picture)
