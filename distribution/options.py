"""The settings as somebody reads them who fills in a form: the registry's list, and the bundle's questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from machines_mcp.protocol.toolset import TOOLSETS
from machines_mcp.redaction.environment import Environment
from machines_mcp.server.settings_reader import VARIABLES


@dataclass(frozen=True)
class Option:
    """One setting in words. Without a `title` the bundle does not ask for it: few people ever need it."""

    description: str
    title: str | None = None
    kind: Literal["string", "file", "directory", "boolean"] = "string"
    secret: bool = False
    default: str | None = None
    choices: tuple[str, ...] = ()


OPTIONS = {
    "MACHINES_ENV": Option(
        "embedded: a simulator on this machine. sandbox: Machines' sandbox. production: real money.",
        "Environment",
        default=Environment.EMBEDDED.value,
        choices=tuple(Environment),
    ),
    "MACHINES_PARTNER_KEY": Option(
        "The partner key. Leave it empty for embedded, or if you set a key file.", "Partner key", secret=True
    ),
    "MACHINES_PARTNER_KEY_FILE": Option(
        "A file with the partner key that only you can read. Use it instead of the key itself.",
        "File with the partner key",
        "file",
    ),
    "MACHINES_USER_ID": Option(
        "Your id for the one user the server acts for. Required outside embedded, unless the policy lists users.",
        "User id",
    ),
    "MACHINES_POLICY": Option(
        "A TOML file: what an agent may do, who may approve, and the limits. Without one, production only reads.",
        "Policy",
        "file",
    ),
    "MACHINES_READ_ONLY": Option("Offer only tools that change nothing.", "Read only", "boolean"),
    "MACHINES_ASK_IN_CLIENT": Option(
        "Have Claude Code ask before calls with money, identity data, consent or a card number, besides the approval.",
        "Ask in the client",
        "boolean",
    ),
    "MACHINES_TOOLSETS": Option(f"A comma-separated list of {', '.join(TOOLSETS)}. Empty means all.", "Toolsets"),
    "MACHINES_STATE_DIR": Option("The folder for approvals, quotes and the simulator's database.", kind="directory"),
    "MACHINES_API_URL": Option("Another address on this machine for sandbox, such as that of machines-mcp sandbox."),
    "MACHINES_PROXY": Option("A proxy for calls to Machines; its address can hold a password.", secret=True),
    "MACHINES_CA_FILE": Option("Further certificates, in PEM, for calls to Machines.", kind="file"),
    "MACHINES_LOG_LEVEL": Option("The log level on stderr: DEBUG, INFO, WARNING, ERROR or CRITICAL."),
    "MACHINES_DESK_PORT": Option(
        "A fixed port for the desk; empty for a new random one. docs/security.md has the risk."
    ),
    "MACHINES_TRACE": Option("A file for the shapes of requests and responses, never their values.", kind="file"),
}

if undescribed := VARIABLES ^ OPTIONS.keys():
    raise ValueError(f"distribution/options.py and the settings differ: {', '.join(sorted(undescribed))}")
