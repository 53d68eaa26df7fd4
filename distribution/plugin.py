"""The plugin for Claude Code and Codex: the server's entry, and a skill with its instructions and prompts.

`plugin/` is the plugin, and each of the two marketplace files beside it offers it to one of the clients.
"""

from __future__ import annotations

from typing import Any

from distribution import registry
from machines_mcp import __doc__ as about
from machines_mcp import __version__
from machines_mcp.cli.client_configs.clients import NAME
from machines_mcp.protocol.prompts import Prompt, load_prompts
from machines_mcp.server.app import INSTRUCTIONS
from machines_mcp.tools.catalog import TOOLS
from machines_mcp.tools.resources import RESOURCES

SKILL = "machines-cards"
_FOLDER = "./plugin"
_AUTHOR = {"name": "machines-mcp contributors"}
_USE = (
    "Take a Machines Cash partner's users from sign-up to a working card with the machines tools. Use it to onboard a "
    "user, check their identity, fund an account, issue or close a card, handle a lost one, or pay out."
)
_NOTE = "<!-- made by `make docs` from the server's instructions, its journey and its prompts -->"
_VOICE = "In the sections below, “I” and “me” are the user. Ask them for what is missing."


def files() -> dict[str, Any]:
    """Return each file by its path below `distribution/`: text, or a value to write as JSON."""
    return {
        ".claude-plugin/marketplace.json": _claude_marketplace(),
        ".agents/plugins/marketplace.json": _codex_marketplace(),
        "plugin/.claude-plugin/plugin.json": _manifest(),
        "plugin/.codex-plugin/plugin.json": _codex_manifest(),
        "plugin/.mcp.json": {"mcpServers": {NAME: {"command": registry.PACKAGE, "args": ["serve"]}}},
        f"plugin/skills/{SKILL}/SKILL.md": skill(),
    }


def skill() -> str:
    """Return the text of the skill."""
    journey = next(resource.text for resource in RESOURCES if resource.path == "journey")
    order = [tool.name for tool in TOOLS]
    prompts = sorted(load_prompts().values(), key=lambda prompt: min(map(order.index, prompt.needs)))
    parts = [
        f"---\nname: {SKILL}\ndescription: {_USE}\n---",
        _NOTE,
        f"# {registry.TITLE}",
        INSTRUCTIONS,
        str(journey).strip().replace("# ", "## ", 1),
        _VOICE,
        *map(_section, prompts),
    ]
    return "\n\n".join(parts) + "\n"


def _section(prompt: Prompt) -> str:
    return f"## {prompt.title}\n\n{prompt.description}\n\n{prompt.render({})}"


def _manifest() -> dict[str, Any]:
    return {
        "name": registry.PACKAGE,
        "version": __version__,
        "description": about,
        "author": _AUTHOR,
        "homepage": registry.REPOSITORY,
        "repository": registry.REPOSITORY,
        "license": "MIT",
        "keywords": ["cards", "payments", "agents"],
    }


def _codex_manifest() -> dict[str, Any]:
    return {
        **_manifest(),
        "skills": "./skills/",
        "mcpServers": "./.mcp.json",
        "interface": {
            "displayName": registry.TITLE,
            "shortDescription": registry.DESCRIPTION,
            "developerName": _AUTHOR["name"],
            "category": "Productivity",
            "capabilities": ["Read", "Write"],
            "defaultPrompt": ["Onboard user-1 and issue a card with 50 dollars a month."],
        },
    }


def _claude_marketplace() -> dict[str, Any]:
    plugin = {"name": registry.PACKAGE, "source": _FOLDER, "description": registry.DESCRIPTION}
    return {"name": NAME, "owner": _AUTHOR, "metadata": {"description": registry.DESCRIPTION}, "plugins": [plugin]}


def _codex_marketplace() -> dict[str, Any]:
    plugin = {
        "name": registry.PACKAGE,
        "source": {"source": "local", "path": _FOLDER},
        "policy": {"installation": "AVAILABLE", "authentication": "ON_INSTALL"},
        "category": "Productivity",
    }
    return {"name": NAME, "interface": {"displayName": registry.TITLE}, "plugins": [plugin]}
