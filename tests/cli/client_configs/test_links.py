"""Test the links that install the server with one click: their documented form, and that they hold no key."""

from __future__ import annotations

import base64
import json
from contextvars import Context
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from click.testing import CliRunner, Result

from machines_mcp.cli.client_configs.clients import CLIENTS
from machines_mcp.cli.client_configs.entry import entry
from machines_mcp.cli.client_configs.links import install_link
from machines_mcp.cli.main import main

KEY = "mk-canary-0123456789"
START = ["/opt/é & +/machines-mcp"]


def vscode(link: str) -> Any:
    """Read the link as VS Code does: the query is URL-encoded JSON with the name beside the config."""
    scheme, _, rest = link.partition(":")
    place, _, query = rest.partition("?")
    assert (scheme, place) == ("vscode", "mcp/install")
    found = json.loads(unquote(query))
    assert found.pop("name") == "machines"
    return found


def cursor(link: str) -> Any:
    """Read the link as Cursor does: the config is JSON in base64."""
    parts = urlsplit(link)
    assert (parts.scheme, parts.netloc, parts.path) == ("cursor", "anysphere.cursor-deeplink", "/mcp/install")
    query = parse_qs(parts.query, strict_parsing=True)
    assert query["name"] == ["machines"]
    return json.loads(base64.b64decode(query["config"][0], validate=True))


READERS = {"vscode": vscode, "cursor": cursor}


def run(*arguments: str, **settings: str) -> Result:
    result: Result = Context().run(CliRunner().invoke, main, ["install", *arguments], env=settings)
    return result


@pytest.mark.parametrize("name", READERS)
def test_a_link_holds_the_entry_of_the_config(name: str) -> None:
    env = {"MACHINES_USER_ID": "user-1", "MACHINES_POLICY": "/opt/a b&c=d+é.toml"}
    link = install_link(CLIENTS[name], env, START)
    assert READERS[name](link) == entry(CLIENTS[name], env, START)
    assert link.isascii()
    assert not set(link) & set(" \"'<>")


@pytest.mark.parametrize("name", READERS)
def test_the_command_prints_the_link_alone_and_writes_no_config(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    result = run(name, "--link")
    assert (result.exit_code, result.stdout.count("\n")) == (0, 1)
    assert READERS[name](result.stdout.strip())["args"] == ["serve"]
    assert CLIENTS[name].title in result.stderr
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("name", [name for name in CLIENTS if name not in READERS])
def test_a_client_without_links_says_so(name: str) -> None:
    result = run(name, "--link")
    says = f"{CLIENTS[name].title} has no links that install a server. Run the command without --link.\n"
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", says)


@pytest.mark.parametrize("name", READERS)
def test_a_link_never_holds_a_key(name: str) -> None:
    result = run(name, "--link", MACHINES_ENV="sandbox", MACHINES_USER_ID="user-1", MACHINES_PARTNER_KEY=KEY)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "MACHINES_PARTNER_KEY is not written to a config" in result.stderr
    assert KEY not in result.stderr
    proxied = run(name, "--link", MACHINES_PROXY=f"http://user:{KEY}@proxy:1")
    assert (proxied.exit_code, proxied.stdout) == (2, "")
    assert KEY not in proxied.stderr


def test_a_link_is_for_the_users_own_config() -> None:
    result = run("cursor", "--link", "--project")
    says = "A link adds the server to your own config. Run the command without --project.\n"
    assert (result.exit_code, result.stderr) == (2, says)


@pytest.mark.parametrize(
    ("given", "title"), [("gemini", "Gemini CLI"), ("w", "Windsurf"), ("claude-d", "Claude Desktop"), ("zed", "Zed")]
)
def test_the_start_of_one_name_is_enough(given: str, title: str) -> None:
    assert f"{title} has no links" in run(given, "--link").stderr


@pytest.mark.parametrize(
    ("given", "names"),
    [("c", "claude-desktop, claude-code, cursor and codex"), ("claude", "claude-desktop and claude-code")],
)
def test_the_start_of_several_names_names_them(given: str, names: str) -> None:
    result = run(given, "--link")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{given} fits {names}. Type more of the name; see ")


@pytest.mark.parametrize("given", ["", "zedd"])
def test_the_start_of_no_name_is_refused_with_all_names(given: str) -> None:
    result = run(given, "--link")
    assert result.exit_code == 2
    assert all(name in result.stderr.replace("\n", "") for name in CLIENTS)
