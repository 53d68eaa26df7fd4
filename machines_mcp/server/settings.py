"""The operator's settings, as `settings_reader` validated them. They are never logged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from machines_mcp.chain.rpc_url import has_access_key
from machines_mcp.redaction.environment import Environment
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.partner_key import KeySource

PRODUCTION_URL = "https://api.machines.cash/partner/v1"
SANDBOX_URL = "https://dev-api.machines.cash/partner/v1"


class SettingsError(Exception):
    """The server must not start. The message is one sentence that names the variable and the fix."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The validated settings of one server. `partner_key` is None in `embedded`, where the simulator makes its own."""

    environment: Environment
    partner_key: Secret | None
    api_url: str | None
    user_id: str | None
    policy: Path | None
    """The operator's policy file. It is read and validated when the server is assembled."""
    state_dir: Path
    toolsets: frozenset[str]
    read_only: bool
    proxy: str | None = field(repr=False)  # it can hold a password
    ca_certificates: str | None = field(repr=False)
    """The text of MACHINES_CA_FILE, as it was at the start."""
    log_level: str
    trace: Path | None
    partner_key_file: Path | None = None
    """The file that the key was read from; None if the key came from the environment or a keyring."""
    desk_port: int | None = None
    """The fixed port of the desk; None for a new random one."""
    key_source: KeySource | None = None
    """Where the key came from; None without a key."""

    ask_in_client: bool = False
    """Whether clients are told to ask the user before each call of a tool whose calls can need approval."""
    rpc_urls: Mapping[int, Secret] = field(default_factory=dict, repr=False)
    """The addresses of chains' nodes, by chain id. They often have an access key."""

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """The values that no message may have. A node's address without a path has no access key."""
        keys = [self.partner_key] if self.partner_key else []
        return (*keys, *(url for url in self.rpc_urls.values() if has_access_key(url.expose())))

    @property
    def simulated(self) -> bool:
        """Whether the Partner API is the simulator."""
        return self.environment is Environment.EMBEDDED


def parse_desk_port(value: str | None) -> int | None:
    """Parse MACHINES_DESK_PORT.

    Raises:
        SettingsError: It is not a port that a server without privileges can have.
    """
    if value is None:
        return None
    if not re.fullmatch("[1-9][0-9]{3,4}", value) or not 1024 <= int(value) <= 65_535:
        raise SettingsError("MACHINES_DESK_PORT must be a port number from 1024 to 65535.")
    return int(value)
