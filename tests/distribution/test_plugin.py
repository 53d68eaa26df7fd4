"""The plugin for Claude Code and Codex: both clients' rules for it, and what its skill teaches."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from distribution.__main__ import FOLDER, files
from distribution.plugin import SKILL
from machines_mcp import __version__
from machines_mcp.cli.client_configs.clients import CLIENTS, NAME
from machines_mcp.cli.client_configs.entry import entry
from machines_mcp.protocol.prompts import load_prompts
from machines_mcp.server.app import INSTRUCTIONS
from machines_mcp.tools.catalog import TOOLS
from machines_mcp.tools.resources import RESOURCES
from tests.cli.client_configs.readers import read

PLUGIN = FOLDER / "plugin"
MARKETPLACES = (".claude-plugin/marketplace.json", ".agents/plugins/marketplace.json")
MANIFESTS = (".claude-plugin/plugin.json", ".codex-plugin/plugin.json")
KEBAB = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def value(path: Path) -> Any:
    """Return a file as both clients read it, which is as plain JSON."""
    return read("claude-code", path.read_text(encoding="utf-8"))


def skill() -> tuple[dict[str, Any], str]:
    """Return the front matter and the text of the skill."""
    _, head, text = (PLUGIN / "skills" / SKILL / "SKILL.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(head), text


def test_the_folders_hold_the_generated_files_alone() -> None:
    folders = (PLUGIN, FOLDER / ".claude-plugin", FOLDER / ".agents")
    found = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    assert found == {path for path in files() if path.parent != FOLDER}
    assert len(found) == 6


@pytest.mark.parametrize("marketplace", MARKETPLACES)
def test_each_marketplace_leads_to_the_plugin(marketplace: str) -> None:
    found = value(FOLDER / marketplace)
    (plugin,) = found["plugins"]
    assert KEBAB.fullmatch(found["name"])
    source = plugin["source"] if isinstance(plugin["source"], str) else plugin["source"]["path"]
    # Both clients take a path below the marketplace's folder only, and only with a leading dot.
    assert source.startswith("./")
    assert (FOLDER / source).resolve() == PLUGIN
    for manifest in MANIFESTS:
        assert value(PLUGIN / manifest)["name"] == plugin["name"]


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_each_manifest_is_within_its_clients_rules(manifest: str) -> None:
    found = value(PLUGIN / manifest)
    assert KEBAB.fullmatch(found["name"])
    assert found["version"] == __version__
    assert found["description"]
    for field in ("skills", "mcpServers"):
        if field in found:
            assert found[field].startswith("./")
            assert (PLUGIN / found[field]).exists()
    for prompt in found.get("interface", {}).get("defaultPrompt", []):
        assert 0 < len(prompt) <= 128


def test_the_codex_manifest_names_the_skill_and_the_server() -> None:
    # Claude Code finds both by their place.
    assert {"skills", "mcpServers"} <= value(PLUGIN / ".codex-plugin/plugin.json").keys()


def test_the_plugin_starts_the_installed_command_without_settings() -> None:
    ((name, found),) = value(PLUGIN / ".mcp.json")["mcpServers"].items()
    scripts = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert name == NAME
    assert found["command"] in scripts
    assert found["args"] == entry(CLIENTS["claude-code"], {}, ["x"])["args"]
    assert set(found) == {"command", "args"}


def test_the_skill_says_when_to_use_it() -> None:
    head, _ = skill()
    assert head == {"name": SKILL, "description": head["description"]}
    assert KEBAB.fullmatch(SKILL)
    assert len(SKILL) <= 64
    assert 50 <= len(head["description"]) <= 1024
    assert not set(head["description"]) & set("<>")
    assert "Use it to " in head["description"]


def test_the_skill_has_the_text_of_the_instructions_the_journey_and_every_prompt() -> None:
    _, text = skill()
    assert INSTRUCTIONS in text
    (journey,) = (str(resource.text) for resource in RESOURCES if resource.path == "journey")
    assert journey.strip().replace("# ", "## ", 1) in text
    for prompt in load_prompts().values():
        assert f"## {prompt.title}\n\n{prompt.description}\n\n{prompt.render({})}" in text
    assert not re.search(r"\{\w+\}", text), "a placeholder is left"
    assert len(text.splitlines()) < 500


def test_the_skill_begins_with_onboarding_and_names_tools_that_exist() -> None:
    _, text = skill()
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert titles[:2] == ["The journey", "Onboard a user"]
    named = set(re.findall(r"`([a-z]+_[a-z_]+|status)`", text)) - {"next_steps"}
    assert {tool.name for tool in TOOLS} == named


def test_no_file_of_the_plugin_names_a_key() -> None:
    for path, content in files().items():
        if path.parent != FOLDER:
            assert "MACHINES_" not in content
            assert json.dumps("env") not in content
