"""Use a folder or file of the server's state only if no other user could have changed it.

What another user made before, such as a database with approvals or a known key, must not be used. So the path is
checked before anything is made there.
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from machines_mcp.storage.files import make_folder
from machines_mcp.storage.path_walk import lets_replace, walk_path

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class NotPrivate(OSError):
    """Another user has or had access. The message is a sentence with the path and the mode to set."""


def private_folder(folder: Path) -> None:
    """Create `folder` and any missing parents with mode 0700. The path to it must be safe.

    Raises:
        NotPrivate: Another user can change a folder or link on the path, or could have made this folder.
        OSError: The folder can't be created.
    """
    check_private(folder)
    make_folder(folder, 0o700)
    if os.name == "posix" and folder.stat().st_mode & stat.S_IRWXO:
        folder.chmod(0o700)
    # Again, because in a folder such as /tmp another user can make folders, too.
    check_private(folder)


def check_private(path: Path) -> None:
    """Check a folder or file, and each folder and link on its path. What does not exist is not checked.

    Raises:
        NotPrivate: A part of the path belongs to another user, or other users can write it. Or the members of a group
            that this process does not belong to can read the end.
        OSError: The path can't be inspected.
    """
    if os.name != "posix":
        return
    steps: list[tuple[Path, os.stat_result]] = []
    end: Path | None = None
    try:
        steps.extend(walk_path(path.absolute()))
        end = steps[-1][0]
    except FileNotFoundError:
        pass
    folder = steps[0][1]
    for step, found in steps:
        if found.st_uid not in (0, os.geteuid()):
            raise NotPrivate(
                f"{step} belongs to another user. It must belong to this user or root, and a new folder needs the mode"
                " 0700. Use another folder."
            )
        if stat.S_ISLNK(found.st_mode):
            if found.st_uid != folder.st_uid:
                raise NotPrivate(f"The link {step} has another owner than its folder. Remove it.")
        elif step == end:
            _check_end(step, found)
        elif lets_replace(found, _WRITABLE_BY_OTHERS):
            raise _too_open(step, "write to", found.st_mode & ~_WRITABLE_BY_OTHERS)
        else:
            folder = found


def check_database(path: Path) -> None:
    """Check a database of SQLite and every file beside it that SQLite would apply to it, such as a journal.

    Raises:
        NotPrivate: As for `check_private`.
        OSError: As for `check_private`.
    """
    for file in (path, *sorted(path.parent.glob(f"{path.name}-*"))):
        check_private(file)


def _check_end(path: Path, found: os.stat_result) -> None:
    own = 0o700 if stat.S_ISDIR(found.st_mode) else 0o600
    if found.st_mode & _WRITABLE_BY_OTHERS:
        raise _too_open(path, "write to", own)
    if found.st_mode & stat.S_IRGRP and found.st_gid not in (os.getegid(), *os.getgroups()):
        raise _too_open(path, "read", own)


def _too_open(path: Path, access: str, mode: int) -> NotPrivate:
    return NotPrivate(f"Other users can {access} {path}. Run: chmod {stat.S_IMODE(mode):04o} {shlex.quote(str(path))}")
