"""Open a page in the user's browser: only on a desktop, and rarely, because unrequested tabs are a nuisance.

All users of a machine can read command lines, and the path of a page is secret. So the browser gets a private file that
redirects to the page. If no tab opens, nothing is lost: every response that needs a person contains the address.
"""

from __future__ import annotations

import hashlib
import html
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from machines_mcp.storage.files import make_file, write_atomically

MIN_INTERVAL_SECONDS = 5 * 60
_LAST_OPENED_FILE = "page-opened"
_REDIRECT = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={url}"><title>Machines</title><a href="{url}">Open the page</a></html>
"""


def open_page(url: str, folder: Path, *, at_once: bool = False) -> bool:
    """Open `url` in a browser tab, at most one in five minutes per state folder unless `at_once`.

    Returns False if no tab was opened.
    """
    command = browser_command(os.environ, sys.platform)
    # A browser of another user could not read the file.
    if command is None or _of_another_user(os.environ):
        return False
    if not (at_once or _claim_opening(folder / _LAST_OPENED_FILE)):
        return False
    # The browser must not inherit our settings, which include the partner key.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MACHINES_")}
    nothing = subprocess.DEVNULL
    try:
        page = str(_write_redirect(folder, url))
        process = subprocess.Popen(  # noqa: S603 - our own file, no shell
            [*command, page], stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True, env=environment
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


def _of_another_user(environ: Mapping[str, str]) -> bool:
    """Return whether the desktop belongs to another user, such as the caller of sudo."""
    if sys.platform == "win32":
        return False
    own = str(os.geteuid())
    if any(environ.get(name, own) != own for name in ("SUDO_UID", "PKEXEC_UID")):
        return True
    try:
        return os.stat(environ.get("XDG_RUNTIME_DIR", "")).st_uid != os.geteuid()
    except OSError:
        return False


def _write_redirect(folder: Path, url: str) -> Path:
    """Write a private file that redirects to `url`. Earlier ones are removed after five minutes."""
    oldest = time.time() - MIN_INTERVAL_SECONDS
    for page in folder.glob("open-*.html"):
        with suppress(FileNotFoundError):
            if page.stat().st_mtime < oldest:
                page.unlink()
    page = folder / f"open-{hashlib.sha256(url.encode()).hexdigest()[:16]}.html"
    write_atomically(page, _REDIRECT.format(url=html.escape(url)).encode())
    return page


def _claim_opening(note: Path) -> bool:
    """Return whether the last tab is at least five minutes old, and if so, record this one."""
    try:
        age = time.time() - note.stat().st_mtime
        if 0 <= age < MIN_INTERVAL_SECONDS:
            return False
        note.touch()
    except FileNotFoundError:
        try:
            # If two servers race, only one creates the file.
            os.close(make_file(note, os.O_WRONLY))
        except OSError:
            return False
    except OSError:
        return False
    return True
