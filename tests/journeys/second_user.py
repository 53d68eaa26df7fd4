"""Another user of the same machine, with every access the operating system gives that user.

Started by root with the attempts as JSON on stdin. It loads the package, permanently becomes the other user, tries each
attempt and prints the results as JSON. (The interpreter may be in a folder that only root can read.)
"""

from __future__ import annotations

import http.client
import importlib
import json
import os
import pkgutil
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from click.testing import CliRunner

import machines_mcp
from machines_mcp.cli.main import main as command
from tests.support.waiting import PATIENCE

NOBODY_UID = 65534


def load_all() -> None:
    """Import every module and its lazy imports, because none can be read later."""
    for found in pkgutil.walk_packages(machines_mcp.__path__, "machines_mcp."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    socket.getaddrinfo("127.0.0.1", 1)
    with tempfile.TemporaryDirectory() as folder:
        env = {
            "MACHINES_ENV": "sandbox",
            "MACHINES_PARTNER_KEY": "key-of-nobody",
            "MACHINES_USER_ID": "user-1",
            "MACHINES_STATE_DIR": folder,
        }
        for line in (["approve"], ["approve", "x"], ["audit", "show"], ["audit", "verify"]):
            CliRunner().invoke(command, line, env=env)


def become(uid: int) -> None:
    """Drop root, its groups and any way back."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    os.chdir("/")
    os.umask(0o077)


def tried(attempt: Callable[[], object]) -> str:
    """Return `done`, or the name of the error."""
    try:
        attempt()
    except (OSError, sqlite3.Error) as error:
        return type(error).__name__
    return "done"


def read(path: Path) -> None:
    with path.open("rb") as file:
        file.read(1)


def write(path: Path) -> None:
    with path.open("r+b"):
        pass


def replace(path: Path) -> None:
    os.replace(path, path.with_suffix(".old"))


def join(folder: Path) -> None:
    (folder / "planted").write_bytes(b"")


def grant(database: Path) -> None:
    """Approve directly in the database."""
    db = sqlite3.connect(database, timeout=1)
    try:
        db.execute("UPDATE approvals SET state = 'granted'")
        db.commit()
    finally:
        db.close()


def read_process(pid: int, name: str) -> None:
    with Path(f"/proc/{pid}/{name}").open("rb") as file:
        file.read(1)


def post(port: int, path: str, values: dict[str, str]) -> int:
    """Return the status of a form sent to the desk, with a browser's headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Origin": f"http://127.0.0.1:{port}",
            "Sec-Fetch-Site": "same-origin",
        }
        connection.request("POST", path, urlencode(values), headers)
        return connection.getresponse().status
    finally:
        connection.close()


def attempts(given: dict[str, Any]) -> dict[str, str]:
    """Return every attempt except the commands, with its result."""
    trials: dict[str, Callable[[], object]] = {}
    for path in map(Path, given["files"]):
        for name, act in (("read", read), ("write", write), ("replace", replace)):
            trials[f"{name} {path}"] = partial(act, path)
    for path in map(Path, given["folders"]):
        for name, look in (("list", os.listdir), ("join", join)):
            trials[f"{name} {path}"] = partial(look, path)
    for pid in given["processes"]:
        for name in ("environ", "mem", "maps", "fd/0"):
            trials[f"{name} of {pid}"] = partial(read_process, pid, name)
        trials[f"signal {pid}"] = partial(os.kill, pid, 0)
    for path in map(Path, given["databases"]):
        trials[f"grant in {path}"] = partial(grant, path)
    return {name: tried(trial) for name, trial in trials.items()}


def commands(given: dict[str, Any]) -> list[tuple[int, str]]:
    """Return the output and exit code of each command line."""
    results = []
    for line in given["commands"]:
        result = CliRunner().invoke(command, line["arguments"], env=line["env"], input=line.get("input", ""))
        results.append((result.exit_code, result.output))
    return results


if __name__ == "__main__":
    wanted = json.load(sys.stdin)
    load_all()
    become(NOBODY_UID)
    found = {
        "attempts": attempts(wanted),
        "commands": commands(wanted),
        "posts": [post(*each) for each in wanted["posts"]],
        "uids": os.getresuid(),
    }
    json.dump(found, sys.stdout)
