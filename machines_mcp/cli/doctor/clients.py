"""Check the source of the partner key, and whether the clients on this machine can start the server."""

from __future__ import annotations

from machines_mcp.cli.client_configs.clients import System
from machines_mcp.cli.client_configs.install import EntryStatus, entry_statuses
from machines_mcp.cli.doctor.finding import Finding
from machines_mcp.server.partner_key import KeySource
from machines_mcp.server.settings import Settings

_SOURCES: dict[KeySource, str] = {
    "environment": "from MACHINES_PARTNER_KEY",
    "file": "from MACHINES_PARTNER_KEY_FILE, {file}",
    "keyring": "from the system's keyring, stored by machines-mcp login",
    "login file": "from {file}, stored by machines-mcp login",
}
_MESSAGES = {
    "other": "{title} starts a different copy: {command}",
    "missing": "{title} runs a command that does not exist: {command}; run machines-mcp install {name}",
    "unreadable": "{title} can't read its config: {path}{fault}",
}


def partner_key(settings: Settings) -> list[Finding]:
    """Report where the partner key comes from, if there is one."""
    if settings.key_source is None:
        return []
    message = _SOURCES[settings.key_source].format(file=settings.partner_key_file)
    return [Finding(True, "partner key", message, {"source": settings.key_source})]


def clients(system: System) -> Finding:
    """Report what the clients' configs start. Clients without an entry for this server are left out."""
    found = entry_statuses(system)
    if not found:
        return Finding(True, "clients", "no client is configured yet; run machines-mcp install CLIENT")
    broken = [one for one in found if one.state == "missing" or (one.state == "unreadable" and one.mentions_us)]
    ours = [] if broken else [one.client.title for one in found if one.state == "ours"]
    others = [_describe(one) for one in broken or found if one.state != "ours"]
    message = "; ".join(([f"{_listed(ours)} this server"] if ours else []) + others)
    return Finding(not broken, "clients", message, {"clients": {one.client.name: one.state for one in found}})


def _listed(titles: list[str]) -> str:
    *first, last = titles
    return f"{', '.join(first)} and {last} start" if first else f"{last} starts"


def _describe(status: EntryStatus) -> str:
    client = status.client
    command = status.command or "no absolute path"
    fault = f", {status.fault}" if status.fault else ""
    return _MESSAGES[status.state].format(
        title=client.title, name=client.name, command=command, path=status.path, fault=fault
    )
