"""Open a page in the user's browser: only on a desktop, and rarely, because unrequested tabs are a nuisance.

If no tab opens, nothing is lost: every response that needs a person contains the address, which is not secret.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

MIN_INTERVAL_SECONDS = 5 * 60
_LAST_OPENED_FILE = "page-opened"


def open_page(url: str, folder: Path, *, at_once: bool = False) -> bool:
    """Open `url` in a browser tab, at most one in five minutes per state folder unless `at_once`.

    Returns False if no tab was opened.
    """
    command = browser_command(os.environ, sys.platform)
    if command is None or not (at_once or _claim_opening(folder / _LAST_OPENED_FILE)):
        return False
    # The browser must not inherit our settings, which include the partner key.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MACHINES_")}
    nothing = subprocess.DEVNULL
    try:
        process = subprocess.Popen(  # noqa: S603 - our own address, no shell
            [*command, url], stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True, env=environment
        )
    except OSError:
        return False
    # The command may run as long as the browser. This thread reaps it, so that it leaves no zombie.
    threading.Thread(target=process.wait, daemon=True).start()
    return True


def browser_command(environ: Mapping[str, str], platform: str) -> tuple[str, ...] | None:
    """Return the command that opens a URL here, or None without a desktop."""
    if environ.get("CI") or environ.get("SSH_CONNECTION"):
        return None
    if platform == "win32":
        return ("rundll32", "url.dll,FileProtocolHandler")
    if platform == "darwin":
        return ("/usr/bin/open",)
    found = shutil.which("xdg-open") if environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY") else None
    return None if found is None else (found,)


def _claim_opening(note: Path) -> bool:
    """Return whether the last tab is at least five minutes old, and if so, record this one."""
    try:
        age = time.time() - note.stat().st_mtime
        if 0 <= age < MIN_INTERVAL_SECONDS:
            return False
        note.touch(mode=0o600)
    except FileNotFoundError:
        try:
            # If two servers race, only one creates the file.
            os.close(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError:
            return False
    except OSError:
        return False
    return True
