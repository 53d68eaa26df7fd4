"""`server.json`, the entry in the MCP registry."""

from __future__ import annotations

from typing import Any

from distribution.options import OPTIONS, Option
from machines_mcp import __version__

# The registry assigns a name to the owner of the part before the slash: here a GitHub organisation. README.md repeats
# the name as `mcp-name: ...`, so that the registry can verify on the package's page that both have the same owner.
NAME = "io.github.machines-mcp/machines-mcp"
PACKAGE = "machines-mcp"
REPOSITORY = "https://github.com/machines-mcp/machines-mcp"
TITLE = "Machines Cash"
DESCRIPTION = "Take a Machines Cash partner's users from sign-up to a working card. Includes a simulator."
SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"

_FORMATS = {"file": "filepath", "directory": "filepath", "boolean": "boolean", "string": "string"}


def entry() -> dict[str, Any]:
    """The whole of `server.json`."""
    package = {
        "registryType": "pypi",
        "identifier": PACKAGE,
        "version": __version__,
        "runtimeHint": "uvx",
        "transport": {"type": "stdio"},
        "environmentVariables": [_variable(name, option) for name, option in OPTIONS.items()],
    }
    return {
        "$schema": SCHEMA,
        "name": NAME,
        "title": TITLE,
        "description": DESCRIPTION,
        "version": __version__,
        "repository": {"url": REPOSITORY, "source": "github"},
        "packages": [package],
    }


def _variable(name: str, option: Option) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": name,
        "description": option.description,
        "format": _FORMATS[option.kind],
        # Without any of them the server runs on its simulator.
        "isRequired": False,
        "isSecret": option.secret,
    }
    if option.default is not None:
        found["default"] = option.default
    if option.choices:
        found["choices"] = list(option.choices)
    return found
