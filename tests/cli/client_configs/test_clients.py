"""Test the config path of each client on each system."""

from __future__ import annotations

from pathlib import Path

import pytest

from machines_mcp.cli.client_configs.clients import CLIENTS, System, config_path

MAC = System("darwin", {"HOME": "/Users/ann", "XDG_CONFIG_HOME": "/ignored"})
LINUX = System("linux", {"HOME": "/home/ann"})
WINDOWS = System(
    "win32",
    {
        "USERPROFILE": r"C:\Users\ann",
        "APPDATA": r"C:\Users\ann\AppData\Roaming",
        "LOCALAPPDATA": r"C:\Users\ann\AppData\Local",
    },
)


@pytest.mark.parametrize(
    ("system", "name", "path"),
    [
        (MAC, "claude-desktop", "/Users/ann/Library/Application Support/Claude/claude_desktop_config.json"),
        (MAC, "claude-code", "/Users/ann/.claude.json"),
        (MAC, "cursor", "/Users/ann/.cursor/mcp.json"),
        (MAC, "vscode", "/Users/ann/Library/Application Support/Code/User/mcp.json"),
        (MAC, "codex", "/Users/ann/.codex/config.toml"),
        (MAC, "gemini-cli", "/Users/ann/.gemini/settings.json"),
        (MAC, "zed", "/Users/ann/.config/zed/settings.json"),
        (System("darwin", {"HOME": "/h"}), "goose", "/h/.config/goose/config.yaml"),
        (MAC, "windsurf", "/Users/ann/.codeium/windsurf/mcp_config.json"),
        (LINUX, "claude-desktop", "/home/ann/.config/Claude/claude_desktop_config.json"),
        (LINUX, "claude-code", "/home/ann/.claude.json"),
        (LINUX, "cursor", "/home/ann/.cursor/mcp.json"),
        (LINUX, "vscode", "/home/ann/.config/Code/User/mcp.json"),
        (LINUX, "codex", "/home/ann/.codex/config.toml"),
        (LINUX, "gemini-cli", "/home/ann/.gemini/settings.json"),
        (LINUX, "zed", "/home/ann/.config/zed/settings.json"),
        (LINUX, "goose", "/home/ann/.config/goose/config.yaml"),
        (LINUX, "windsurf", "/home/ann/.codeium/windsurf/mcp_config.json"),
        (WINDOWS, "claude-desktop", r"C:\Users\ann\AppData\Roaming\Claude\claude_desktop_config.json"),
        (WINDOWS, "claude-code", r"C:\Users\ann\.claude.json"),
        (WINDOWS, "cursor", r"C:\Users\ann\.cursor\mcp.json"),
        (WINDOWS, "vscode", r"C:\Users\ann\AppData\Roaming\Code\User\mcp.json"),
        (WINDOWS, "codex", r"C:\Users\ann\.codex\config.toml"),
        (WINDOWS, "gemini-cli", r"C:\Users\ann\.gemini\settings.json"),
        (WINDOWS, "zed", r"C:\Users\ann\AppData\Roaming\Zed\settings.json"),
        (WINDOWS, "goose", r"C:\Users\ann\AppData\Roaming\Block\goose\config\config.yaml"),
        (WINDOWS, "windsurf", r"C:\Users\ann\.codeium\windsurf\mcp_config.json"),
        (System("linux", {"HOME": "/h", "XDG_CONFIG_HOME": "/x"}), "zed", "/x/zed/settings.json"),
        (System("linux", {"HOME": "/h", "XDG_CONFIG_HOME": "/x"}), "goose", "/x/goose/config.yaml"),
        (System("linux", {"HOME": "/h", "GEMINI_CLI_HOME": "/g"}), "gemini-cli", "/g/.gemini/settings.json"),
        (System("linux", {"HOME": "/h", "GOOSE_PATH_ROOT": "/g"}), "goose", "/g/config/config.yaml"),
        (System("linux", {"HOME": "/h", "GOOSE_PATH_ROOT": "g"}), "goose", "/h/.config/goose/config.yaml"),
        (System("linux", {"HOME": "/h", "XDG_CONFIG_HOME": "/x"}), "vscode", "/x/Code/User/mcp.json"),
        (System("linux", {"HOME": "/h", "XDG_CONFIG_HOME": "x"}), "vscode", "/h/.config/Code/User/mcp.json"),
        (System("linux", {"HOME": "/h", "CLAUDE_CONFIG_DIR": "/c"}), "claude-code", "/c/.claude.json"),
        (System("linux", {"HOME": "/h", "CODEX_HOME": "/c"}), "codex", "/c/config.toml"),
        (System("win32", {"USERPROFILE": r"C:\U"}), "vscode", r"C:\U\AppData\Roaming\Code\User\mcp.json"),
    ],
)
def test_each_client_has_its_own_config_path(system: System, name: str, path: str) -> None:
    assert str(CLIENTS[name].locate(system)) == path


def test_a_missing_home_variable_falls_back_to_the_system_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/home/of-the-system"))
    assert config_path(CLIENTS["cursor"], System("linux", {})) == Path("/home/of-the-system/.cursor/mcp.json")


def test_the_windows_package_of_claude_desktop_has_its_own_config(tmp_path: Path) -> None:
    roaming, local = tmp_path / "Roaming", tmp_path / "Local"
    system = System("win32", {"APPDATA": roaming.as_posix(), "LOCALAPPDATA": local.as_posix()})
    desktop = CLIENTS["claude-desktop"]
    config = "claude_desktop_config.json"
    assert config_path(desktop, system) == roaming / "Claude" / config
    folders = [local / "Packages" / f"Claude_{which}" / "LocalCache" / "Roaming" / "Claude" for which in "ab"]
    for folder in folders:
        folder.mkdir(parents=True)
    assert config_path(desktop, system) == folders[0] / config
    (folders[1] / config).write_text("{}", encoding="utf-8")
    assert config_path(desktop, system) == folders[1] / config
