"""The other servers, by exact version, each installed into its own folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.wire import BenchmarkError, Command

INSTALL_SECONDS = 600
# Placeholder in an argument for a folder with a git repository.
REPOSITORY = "{repository}"


@dataclass(frozen=True)
class Peer:
    """A third-party server, and how to start and call it without leaving this machine."""

    name: str
    version: str
    kind: Literal["python", "node"]
    script: str
    arguments: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    call: Mapping[str, Any] | None = None

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}"


PEERS = (
    Peer(
        "mcp-server-git",
        "2026.10.19",
        "python",
        "mcp-server-git",
        call={"name": "git_status", "arguments": {"repo_path": REPOSITORY}},
    ),
    # Every tool of these two calls its service, so none can be measured offline. The keys are made up.
    Peer(
        "alpaca-mcp-server",
        "2.4.0",
        "python",
        "alpaca-mcp-server",
        settings={"ALPACA_API_KEY": "nobodys", "ALPACA_SECRET_KEY": "nobodys"},
    ),
    Peer(
        "mcp-atlassian",
        "0.23.1",
        "python",
        "mcp-atlassian",
        settings={"JIRA_URL": "http://127.0.0.1:9", "JIRA_USERNAME": "nobody", "JIRA_API_TOKEN": "nobodys"},
    ),
    Peer(
        "@modelcontextprotocol/server-everything",
        "2026.8.31",
        "node",
        "@modelcontextprotocol/server-everything/dist/index.js",
        arguments=("stdio",),
        call={"name": "echo", "arguments": {"message": "status"}},
    ),
)


def installed(peer: Peer, folder: Path, scratch: Path) -> Command:
    """Return the command that starts the peer, after installing it under `folder` if needed.

    Raises:
        BenchmarkError: It can't be installed here; the message says why.
    """
    place = folder / f"{peer.name.rpartition('/')[2]}-{peer.version}"
    made = place / ".made"
    if not made.exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        _install(peer, place)
        made.touch()
    home = scratch / place.name
    home.mkdir(parents=True)
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), **peer.settings}
    return Command(peer.title, _start(peer, place), environment, _located(peer.call, scratch), home / "stderr.txt")


def _install(peer: Peer, place: Path) -> None:
    if peer.kind == "python":
        venv.create(place, with_pip=True, symlinks=os.name != "nt")
        pip = [str(_programs(place) / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
        _run(peer, [*pip, "install", f"{peer.name}=={peer.version}"])
    else:
        npm = _program(peer, "npm")
        quiet = ["--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
        _run(peer, [npm, "install", *quiet, "--prefix", str(place), f"{peer.name}@{peer.version}"])


def _start(peer: Peer, place: Path) -> tuple[str, ...]:
    if peer.kind == "python":
        return (str(_programs(place) / peer.script), *peer.arguments)
    return (_program(peer, "node"), str(place / "node_modules" / peer.script), *peer.arguments)


def _located(call: Mapping[str, Any] | None, scratch: Path) -> Mapping[str, Any] | None:
    """Return the call with a git repository in place of its placeholder."""
    if call is None or REPOSITORY not in call["arguments"].values():
        return call
    repository = scratch / "repository"
    subprocess.run(["git", "init", "--quiet", str(repository)], check=True, timeout=INSTALL_SECONDS)  # noqa: S607
    arguments = {k: str(repository) if v == REPOSITORY else v for k, v in call["arguments"].items()}
    return {**call, "arguments": arguments}


def _programs(place: Path) -> Path:
    return place / ("Scripts" if sys.platform == "win32" else "bin")


def _program(peer: Peer, name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise BenchmarkError(f"{peer.name} is skipped: {name} is not installed on this machine")
    return found


def _run(peer: Peer, command: list[str]) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    if done.returncode:
        raise BenchmarkError(f"{peer.name} is skipped: it can't be installed here\n{done.stderr[-500:]}")
