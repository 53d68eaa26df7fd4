"""`manifest.json` of the bundle that desktop clients install by a double click (MCPB)."""

from __future__ import annotations

import re
from typing import Any

from distribution import registry
from distribution.options import OPTIONS, Option
from machines_mcp import __doc__ as about
from machines_mcp import __version__
from machines_mcp.protocol.prompts import Prompt, load_prompts
from machines_mcp.redaction.environment import SIMULATOR_NOTE
from machines_mcp.tools.catalog import CHAIN_TOOLS, TOOLS

# The first version of this format that supports servers run by uv.
VERSION = "0.4"
ENTRY_POINT = "server.py"
_LONG = f"""\
Tools for the whole journey of the Partner API: session, user, identity check, agreements, deposit, balances, \
withdrawal, card. The vault, a separate process, decrypts card numbers. The model never receives them. A person \
approves payments.

Without any settings the server runs a simulator on this machine. {SIMULATOR_NOTE}"""


def manifest() -> dict[str, Any]:
    """The whole of `manifest.json`."""
    asked = {name: option for name, option in OPTIONS.items() if option.title}
    # Frozen: what the bundle's lock names and nothing newer, each file by its hash.
    run = ["run", "--frozen", "--no-dev", "--directory", "${__dirname}", ENTRY_POINT]
    # A bundle installs no extra.
    listed = [tool for tool in TOOLS if tool not in CHAIN_TOOLS]
    return {
        "manifest_version": VERSION,
        "name": registry.PACKAGE,
        "display_name": registry.TITLE,
        "version": __version__,
        "description": about,
        "long_description": _LONG,
        "author": {"name": "machines-mcp contributors"},
        "repository": {"type": "git", "url": registry.REPOSITORY},
        "license": "MIT",
        "keywords": ["cards", "payments", "agents"],
        "server": {
            "type": "uv",
            "entry_point": ENTRY_POINT,
            "mcp_config": {
                "command": "uv",
                "args": run,
                "env": {name: f"${{user_config.{_key(name)}}}" for name in asked},
            },
        },
        "tools": [{"name": tool.name, "description": _first_sentence(tool.description)} for tool in listed],
        "prompts": [_prompt(prompt) for prompt in load_prompts().values()],
        "compatibility": {"platforms": ["darwin", "linux", "win32"], "runtimes": {"python": ">=3.11"}},
        "user_config": {_key(name): _question(option) for name, option in asked.items()},
    }


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".") + "."


def _key(name: str) -> str:
    return name.removeprefix("MACHINES_").lower()


def _question(option: Option) -> dict[str, Any]:
    # Without a default, a client passes its own placeholder to the server if the person enters nothing.
    default = False if option.kind == "boolean" else option.default or ""
    asked = {"type": option.kind, "title": option.title, "description": option.description, "required": False}
    return {**asked, "default": default, **({"sensitive": True} if option.secret else {})}


def _prompt(prompt: Prompt) -> dict[str, Any]:
    names = [argument.name for argument in prompt.arguments]
    place = re.compile(rf"\{{({'|'.join(names)})\}}")
    text = place.sub(lambda found: f"${{arguments.{found[1]}}}", prompt.text)
    return {"name": prompt.name, "description": prompt.description, "arguments": names, "text": text}
