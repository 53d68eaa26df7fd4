"""Report who on this machine can read or write a file, from owners and modes along its whole path.

ACLs are ignored, and root can do everything.
"""

from __future__ import annotations

import os
import stat
from itertools import pairwise
from pathlib import Path
from typing import Literal

from machines_mcp.storage.path_walk import lets_replace, walk_path

Access = Literal["read", "write"]

_BITS = {"read": (stat.S_IRUSR, stat.S_IRGRP, stat.S_IROTH), "write": (stat.S_IWUSR, stat.S_IWGRP, stat.S_IWOTH)}


def describe_access(path: Path, access: Access) -> str:
    """Return `everybody`, `a group` or `only USER`. A user who can replace the file can write it.

    Raises:
        OSError: The file or a folder above it can't be inspected.
    """
    return _describe(_path_statuses(path), access)


def is_private(path: Path, access: Access, *, uids: frozenset[int]) -> bool:
    """Return whether only users in `uids` have this access.

    Raises:
        OSError: The file or a folder above it can't be inspected.
    """
    statuses = _path_statuses(path)
    return _describe(statuses, access).startswith("only ") and statuses[-1].st_uid in uids


def has_access(uid: int, path: Path, access: Access) -> bool:
    """Return whether the user has this access.

    Raises:
        OSError: The file or a folder above it can't be inspected.
    """
    if uid == 0:
        return True
    statuses, groups = _path_statuses(path), _groups(uid)
    for above, below in pairwise(statuses):
        if not _permits(above, uid, groups, "pass"):
            return False
        if access == "write" and _permits(above, uid, groups, "write") and _may_replace(above, below, uid):
            return True
    return _permits(statuses[-1], uid, groups, access)


def user_name(uid: int) -> str:
    """Return the user's name and uid."""
    import pwd

    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


def _path_statuses(path: Path) -> list[os.stat_result]:
    """Return the status of every folder on the real path, and of the file last."""
    return [found for _, found in walk_path(path.resolve())]


def _describe(statuses: list[os.stat_result], access: Access) -> str:
    *above, found = statuses
    _, group, other = _BITS[access]
    by_all = bool(found.st_mode & other) and all(folder.st_mode & stat.S_IXOTH for folder in above)
    by_group = bool(found.st_mode & (group | other)) and all(
        folder.st_mode & (stat.S_IXGRP | stat.S_IXOTH) for folder in above
    )
    if access == "write":
        by_all = by_all or any(lets_replace(folder, stat.S_IWOTH) for folder in above)
        by_group = by_group or any(lets_replace(folder, stat.S_IWGRP) for folder in above)
    if by_all:
        return "everybody"
    return "a group" if by_group else f"only {user_name(found.st_uid)}"


def _permits(found: os.stat_result, uid: int, groups: frozenset[int], access: Literal["read", "write", "pass"]) -> bool:
    bits = _BITS[access] if access != "pass" else (stat.S_IXUSR, stat.S_IXGRP, stat.S_IXOTH)
    if found.st_uid == uid:
        return bool(found.st_mode & bits[0])
    return bool(found.st_mode & bits[1 if found.st_gid in groups else 2])


def _may_replace(folder: os.stat_result, child: os.stat_result, uid: int) -> bool:
    # In a sticky folder such as /tmp, only the owner of the folder or of the file can replace the file.
    return not folder.st_mode & stat.S_ISVTX or uid in (folder.st_uid, child.st_uid)


def _groups(uid: int) -> frozenset[int]:
    import pwd

    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    return frozenset(os.getgrouplist(user.pw_name, user.pw_gid))
