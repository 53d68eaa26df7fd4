"""The config that makes a client start this server: absolute paths, since desktop programs lack the shell's PATH."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

NAME = "machines"
_CARRIED = ("MACHINES_ENV", "MACHINES_API_URL", "MACHINES_USER_ID", "MACHINES_STATE_DIR", "MACHINES_TOOLSETS")


def command() -> str:
    """The absolute path of the `machines-mcp` script beside this Python."""
    script = "machines-mcp.exe" if os.name == "nt" else "machines-mcp"
    return str(Path(sys.executable).parent.absolute() / script)


def entry(env: Mapping[str, str] | None = None) -> dict[str, object]:
    """The server's entry in a client's config. Settings are carried along, keys never."""
    given = os.environ if env is None else env
    settings = {name: given[name] for name in _CARRIED if given.get(name)}
    return {"command": command(), "args": ["serve"], "env": {"MACHINES_ENV": "embedded"} | settings}


def config_text(client: str, env: Mapping[str, str] | None = None) -> str:
    """What to paste for `claude-desktop` (claude_desktop_config.json) or run for `claude-code`."""
    found = entry(env)
    if client == "claude-code":
        return f"claude mcp add-json {NAME} {shlex.quote(json.dumps({'type': 'stdio'} | found))}"
    return json.dumps({"mcpServers": {NAME: found}}, indent=2)
