"""The supported clients and the location of their configs on macOS, Linux and Windows."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Literal

from machines_mcp.cli.client_configs.jsonc import JSONC, STRICT, Dialect

NAME = "machines"
"""The name of our entry."""


@dataclass(frozen=True, slots=True)
class System:
    """A platform (as in `sys.platform`) and an environment, which determine the paths."""

    platform: str
    env: Mapping[str, str]

    @property
    def home(self) -> PurePath:
        """The user's home folder."""
        return self.named("USERPROFILE" if self.platform == "win32" else "HOME") or self._pure(str(Path.home()))

    @property
    def configs(self) -> PurePath:
        """The folder where desktop programs keep their configs."""
        if self.platform == "win32":
            return self.named("APPDATA") or self.home / "AppData" / "Roaming"
        if self.platform == "darwin":
            return self.home / "Library" / "Application Support"
        return self.named("XDG_CONFIG_HOME") or self.home / ".config"

    @property
    def dot_config(self) -> PurePath:
        """The folder where command-line programs keep their configs: on macOS, too, it is not the desktop's."""
        return self.configs if self.platform == "win32" else self.named("XDG_CONFIG_HOME") or self.home / ".config"

    def folder(self, variable: str, default: str) -> PurePath:
        """Return the absolute path in `variable`, or `default` in the home folder."""
        return self.named(variable) or self.home / default

    def named(self, variable: str) -> PurePath | None:
        """Return the absolute path in `variable`; None if it holds none."""
        path = self._pure(self.env.get(variable, ""))
        return path if path.is_absolute() or (self.platform == "win32" and path.root) else None

    def packages(self) -> PurePath | None:
        """Return the folder where Windows keeps the files of packaged programs; None on other platforms."""
        local = self.named("LOCALAPPDATA") or self.home / "AppData" / "Local"
        return local / "Packages" if self.platform == "win32" else None

    def _pure(self, path: str) -> PurePath:
        return PureWindowsPath(path) if self.platform == "win32" else PurePosixPath(path)


@dataclass(frozen=True, slots=True)
class Client:
    """A program that starts MCP servers, and the format of its config."""

    name: str
    title: str
    locate: Callable[[System], PurePath]
    """Returns the path of the user's own config."""
    project_path: tuple[str, ...] | None
    """The path of the config in a project's folder; None if the client has none."""
    servers_key: str = "mcpServers"
    """The key that holds the servers."""
    format: Literal["json", "toml", "yaml"] = "json"
    dialect: Dialect = STRICT
    """What the client accepts in JSON."""
    command_key: str = "command"
    env_key: str = "env"
    leading_fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields of our entry above the command, its arguments and its environment."""
    extra_fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields of our entry between the arguments and the environment."""
    restart_hint: str = field(kw_only=True)
    """How to make the client read the config again, and start the server."""


def this_system() -> System:
    """Return the current platform and environment."""
    return System(sys.platform, os.environ)


def config_path(client: Client, system: System) -> Path:
    """Return the path of the client's config, which may not exist."""
    # Every platform accepts forward slashes, so one platform's paths can be tested on another.
    return Path(client.locate(system).as_posix())


def _claude_desktop(system: System) -> PurePath:
    packages = system.packages()
    # On Windows it is now a package, which does not see files written to the usual folder.
    found = [] if packages is None else sorted(Path(packages.as_posix()).glob("Claude_*/LocalCache/Roaming/Claude"))
    with_config = [folder for folder in found if (folder / _DESKTOP).is_file()]
    for folder in with_config or found:
        return PureWindowsPath(folder) / _DESKTOP
    return system.configs / "Claude" / _DESKTOP


def _zed(system: System) -> PurePath:
    if system.platform == "win32":
        return system.configs / "Zed" / "settings.json"
    # Zed does not read XDG_CONFIG_HOME on macOS.
    folder = system.home / ".config" if system.platform == "darwin" else system.dot_config
    return folder / "zed" / "settings.json"


def _goose(system: System) -> PurePath:
    if root := system.named("GOOSE_PATH_ROOT"):
        return root / "config" / "config.yaml"
    windows = system.platform == "win32"
    return (system.configs / "Block" / "goose" / "config" if windows else system.dot_config / "goose") / "config.yaml"


_DESKTOP = "claude_desktop_config.json"
_STDIO = {"type": "stdio"}
_CALL_SECONDS = 180
# Codex allows 10 s to start and 60 s per call by default; a person may need longer.
_CODEX = {"startup_timeout_sec": 60, "tool_timeout_sec": _CALL_SECONDS}
# One timeout for the start and for each call: milliseconds in Gemini CLI, seconds in Goose.
_GEMINI = {"timeout": _CALL_SECONDS * 1000}
_GOOSE = {"timeout": _CALL_SECONDS}
_EXTENSION = {"enabled": True} | _STDIO | {"name": NAME, "description": "Machines Cash accounts, payments and cards"}

CLIENTS: Mapping[str, Client] = {
    client.name: client
    for client in (
        Client(
            "claude-desktop", "Claude Desktop", _claude_desktop, None, restart_hint="Quit and restart Claude Desktop."
        ),
        Client(
            name="claude-code",
            title="Claude Code",
            # In the home folder by default, and inside CLAUDE_CONFIG_DIR if that is set.
            locate=lambda system: system.folder("CLAUDE_CONFIG_DIR", "") / ".claude.json",
            project_path=(".mcp.json",),
            leading_fields=_STDIO,
            restart_hint="Restart Claude Code, then check with claude mcp list.",
        ),
        Client(
            name="cursor",
            title="Cursor",
            locate=lambda system: system.home / ".cursor" / "mcp.json",
            project_path=(".cursor", "mcp.json"),
            dialect=JSONC,
            leading_fields=_STDIO,
            restart_hint="Restart Cursor.",
        ),
        Client(
            name="vscode",
            title="VS Code",
            locate=lambda system: system.configs / "Code" / "User" / "mcp.json",
            project_path=(".vscode", "mcp.json"),
            servers_key="servers",
            dialect=JSONC,
            leading_fields=_STDIO,
            restart_hint="In VS Code, start it from MCP: List Servers.",
        ),
        Client(
            name="codex",
            title="Codex",
            locate=lambda system: system.folder("CODEX_HOME", ".codex") / "config.toml",
            project_path=(".codex", "config.toml"),
            servers_key="mcp_servers",
            format="toml",
            extra_fields=_CODEX,
            restart_hint="Restart Codex, then check with codex mcp list.",
        ),
        Client(
            name="gemini-cli",
            title="Gemini CLI",
            locate=lambda system: system.folder("GEMINI_CLI_HOME", "") / ".gemini" / "settings.json",
            project_path=(".gemini", "settings.json"),
            # It strips the comments and parses the rest as plain JSON.
            dialect=Dialect(comments=True),
            extra_fields=_GEMINI,
            restart_hint="Restart Gemini CLI in a folder that you trust, then check with gemini mcp list.",
        ),
        Client(
            name="zed",
            title="Zed",
            locate=_zed,
            project_path=(".zed", "settings.json"),
            servers_key="context_servers",
            dialect=Dialect(comments=True, trailing_commas=True),
            restart_hint="Zed starts it at once; its agent settings show the state.",
        ),
        Client(
            name="goose",
            title="Goose",
            locate=_goose,
            project_path=None,
            servers_key="extensions",
            format="yaml",
            command_key="cmd",
            env_key="envs",
            leading_fields=_EXTENSION,
            extra_fields=_GOOSE,
            restart_hint="Start a new Goose session.",
        ),
        Client(
            name="windsurf",
            title="Windsurf",
            locate=lambda system: system.home / ".codeium" / "windsurf" / "mcp_config.json",
            project_path=None,
            restart_hint="In Windsurf, refresh the list of MCP servers.",
        ),
    )
}
