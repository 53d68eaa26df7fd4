"""The clients, and where each keeps its config on macOS, Linux and Windows."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class System:
    """A platform (as `sys.platform` names it) and an environment, from which the places follow."""

    platform: str
    env: Mapping[str, str]

    @property
    def home(self) -> PurePath:
        """The person's folder."""
        return self._folder("USERPROFILE" if self.platform == "win32" else "HOME") or self._pure(str(Path.home()))

    @property
    def configs(self) -> PurePath:
        """Where programs of a desktop keep their configs."""
        if self.platform == "win32":
            return self._folder("APPDATA") or self.home / "AppData" / "Roaming"
        if self.platform == "darwin":
            return self.home / "Library" / "Application Support"
        return self._folder("XDG_CONFIG_HOME") or self.home / ".config"

    def folder(self, variable: str, default: str) -> PurePath:
        """What an absolute path in `variable` names, else `default` in the person's folder."""
        return self._folder(variable) or self.home / default

    def packages(self) -> PurePath | None:
        """Where Windows keeps what packaged programs write."""
        local = self._folder("LOCALAPPDATA") or self.home / "AppData" / "Local"
        return local / "Packages" if self.platform == "win32" else None

    def _folder(self, variable: str) -> PurePath | None:
        path = self._pure(self.env.get(variable, ""))
        return path if path.is_absolute() or (self.platform == "win32" and path.root) else None

    def _pure(self, path: str) -> PurePath:
        return PureWindowsPath(path) if self.platform == "win32" else PurePosixPath(path)


@dataclass(frozen=True, slots=True)
class Client:
    """A program that starts MCP servers, and what its config looks like."""

    name: str
    title: str
    place: Callable[[System], PurePath]
    """Its config for all of a person's work."""
    project: tuple[str, ...] | None
    """Its config in a project's folder; None where it has none."""
    group: str = "mcpServers"
    """The name under which the servers stand."""
    form: Literal["json", "toml"] = "json"
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What its entry has besides the command, its arguments and its environment."""
    then: str = "Restart it."
    """What makes it read the config anew."""


def this_system() -> System:
    """The one we run on."""
    return System(sys.platform, os.environ)


def config_path(client: Client, system: System) -> Path:
    """Where the client's config is, or would be."""
    # With slashes, which every system takes: so the paths of one can be tried on another.
    return Path(client.place(system).as_posix())


def _claude_desktop(system: System) -> PurePath:
    packages = system.packages()
    # As a package, which it is on Windows now, it does not see what is written to the usual place.
    found = [] if packages is None else sorted(Path(packages.as_posix()).glob("Claude_*/LocalCache/Roaming/Claude"))
    with_config = [folder for folder in found if (folder / _DESKTOP).is_file()]
    for folder in with_config or found:
        return PureWindowsPath(folder) / _DESKTOP
    return system.configs / "Claude" / _DESKTOP


_DESKTOP = "claude_desktop_config.json"
_STDIO = {"type": "stdio"}
# Of its own accord it gives up after ten seconds to start, and after sixty of a call; a person may take longer.
_CODEX = {"startup_timeout_sec": 60, "tool_timeout_sec": 180}

CLIENTS: Mapping[str, Client] = {
    client.name: client
    for client in (
        Client("claude-desktop", "Claude Desktop", _claude_desktop, None, then="Quit and restart it."),
        Client(
            name="claude-code",
            title="Claude Code",
            # It stands beside its folder at home, and in the folder that is named.
            place=lambda system: system.folder("CLAUDE_CONFIG_DIR", "") / ".claude.json",
            project=(".mcp.json",),
            extra=_STDIO,
            then="Start it anew; claude mcp list shows it.",
        ),
        Client(
            name="cursor",
            title="Cursor",
            place=lambda system: system.home / ".cursor" / "mcp.json",
            project=(".cursor", "mcp.json"),
            extra=_STDIO,
        ),
        Client(
            name="vscode",
            title="VS Code",
            place=lambda system: system.configs / "Code" / "User" / "mcp.json",
            project=(".vscode", "mcp.json"),
            group="servers",
            extra=_STDIO,
            then="Start it there: MCP: List Servers.",
        ),
        Client(
            name="codex",
            title="Codex",
            place=lambda system: system.folder("CODEX_HOME", ".codex") / "config.toml",
            project=(".codex", "config.toml"),
            group="mcp_servers",
            form="toml",
            extra=_CODEX,
            then="Start it anew; codex mcp list shows it.",
        ),
    )
}
