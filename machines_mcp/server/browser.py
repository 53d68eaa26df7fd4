"""Opening a page in the person's browser: on a desktop alone, and seldom, because a tab nobody asked for is a nuisance.

The address is not secret, so nothing is lost where no tab opens: it stands in every answer that needs a person.
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

PAUSE_SECONDS = 5 * 60
_NOTE = "page-opened"


def open_page(url: str, folder: Path, *, at_once: bool = False) -> bool:
    """Open `url` in a tab, at most one in five minutes per state folder, unless a person asks for it: `at_once`.

    False where none was opened.
    """
    command = opener(os.environ, sys.platform)
    if command is None or not (at_once or _due(folder / _NOTE)):
        return False
    # What the browser inherits is no business of it: our settings hold the partner key.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MACHINES_")}
    nothing = subprocess.DEVNULL
    try:
        process = subprocess.Popen(  # noqa: S603 - an address of ours, and no shell
            [*command, url], stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True, env=environment
        )
    except OSError:
        return False
    # It may run as long as the browser does, and is to leave no zombie; nobody waits for this thread.
    threading.Thread(target=process.wait, daemon=True).start()
    return True


def opener(environ: Mapping[str, str], platform: str) -> tuple[str, ...] | None:
    """The command that opens an address here; None where nobody sits in front of it."""
    if environ.get("CI") or environ.get("SSH_CONNECTION"):
        return None
    if platform == "win32":
        return ("rundll32", "url.dll,FileProtocolHandler")
    if platform == "darwin":
        return ("/usr/bin/open",)
    found = shutil.which("xdg-open") if environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY") else None
    return None if found is None else (found,)


def _due(note: Path) -> bool:
    """Whether the last tab is five minutes old; if so, this is the last."""
    try:
        age = time.time() - note.stat().st_mtime
        if 0 <= age < PAUSE_SECONDS:
            return False
        note.touch(mode=0o600)
    except FileNotFoundError:
        try:
            # Of two servers at once, one makes it.
            os.close(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError:
            return False
    except OSError:
        return False
    return True
