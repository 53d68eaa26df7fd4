"""Checks what a server needs and says what to do about each."""

from __future__ import annotations

import os
import site
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio

from machines_mcp import __version__
from machines_mcp.permissions.policy import PolicyError
from machines_mcp.server.app import App, opened
from machines_mcp.server.settings import Settings, SettingsError, read_settings
from machines_mcp.server.state_folder import policy_for
from machines_mcp.storage.database import StoreUnavailable

CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, whether it is well, and what to do or what was found, in `detail` by its parts."""

    ok: bool
    what: str
    message: str
    detail: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return {"ok": self.ok, "what": self.what, "says": self.message} | self.detail


async def examine(*, probe: bool = False) -> list[Finding]:
    """All checks, in the order in which a failure hides the next; `probe` also asks every endpoint that only reads."""
    findings = [Finding(True, "version", f"machines-mcp {__version__} on Python {sys.version.split()[0]}")]
    try:
        # Off the loop: it may have to wait for a keyring.
        settings = await anyio.to_thread.run_sync(read_settings)
    except SettingsError as error:
        return [*findings, Finding(False, "settings", str(error))]
    findings.append(Finding(True, "settings", _describe(settings)))
    from machines_mcp.cli.client_configs.clients import this_system
    from machines_mcp.cli.doctor.clients import clients, partner_key

    findings += [*partner_key(settings), await _vault(), clients(this_system())]
    try:
        policy_for(settings)
    except PolicyError as error:
        return [*findings, Finding(False, "policy", str(error))]
    async with opened(settings) as app:
        findings.append(await _state(app))
        if findings[-1].ok:
            from machines_mcp.cli.doctor.state import guarded

            findings += await guarded(app)
            findings.append(await _reach(app))
        if probe and findings[-1].ok:
            findings += await _probed(app)
    return findings


def _describe(settings: Settings) -> str:
    where = "the simulator on this machine; nothing is real" if settings.simulated else str(settings.api_url)
    who = f"user {settings.user_id}" if settings.user_id else "any user"
    return f"{settings.environment.value}, {where}, {who}" + (", read-only" if settings.read_only else "")


async def _vault() -> Finding:
    from machines_mcp.vault.client import starts

    if await starts():
        return Finding(True, "vault", "the process that opens cards starts")
    return Finding(False, "vault", f"the process that opens cards does not start; {_cure()}")


def _cure() -> str:
    if Path(__file__).is_relative_to(site.getusersitepackages()):
        # It runs with `python -I`, so that nothing of the environment has a say in which code it runs.
        return "a user install (pip install --user) is not seen there: install with pipx or in a virtual environment."
    return f"run {sys.executable} -I -m machines_mcp.vault </dev/null and install what it lacks, best with pipx."


async def _state(app: App) -> Finding:
    folder = app.settings.state_dir
    try:
        waiting = len(await app.guard.channels.waiting())
    except StoreUnavailable:
        return Finding(False, "state", f"{folder} can't be used; check its owner, mode (0700) and free space.")
    if os.name == "posix" and folder.stat().st_uid != os.getuid():
        return Finding(
            False, "state", f"{folder} belongs to another user; set MACHINES_STATE_DIR to a folder of yours."
        )
    return Finding(True, "state", f"{folder}, {waiting} waiting for approval")


async def _reach(app: App) -> Finding:
    from machines_mcp.partner import PartnerError

    if app.settings.api_url is None:
        try:
            await app.connection.client()
        except PartnerError:
            return Finding(False, "partner API", "the simulator did not start; run machines-mcp sandbox --port 0.")
        return Finding(True, "partner API", "the simulator starts")
    # A connection only: any call with the key could make or change something there.
    parts = urlsplit(app.settings.api_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with anyio.fail_after(CONNECT_SECONDS):
            await (await anyio.connect_tcp(str(parts.hostname), port)).aclose()
    except (OSError, TimeoutError):
        return Finding(False, "partner API", f"{parts.hostname}:{port} can't be reached; check the network and proxy.")
    return Finding(True, "partner API", f"{parts.hostname}:{port} can be reached; the key is not tried")


async def _probed(app: App) -> list[Finding]:
    from machines_mcp.cli.doctor.api_probe import detail, probe, probe_message
    from machines_mcp.partner import PartnerError

    try:
        rows = await probe(app)
    except PartnerError as error:
        return [Finding(False, "probe", f"it could not begin: {error}")]
    return [Finding(row.ok, row.endpoint, probe_message(row), detail(row)) for row in rows]
