"""Check what a server needs and say how to fix each problem."""

from __future__ import annotations

import site
import sys
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from machines_mcp import __version__
from machines_mcp.cli.doctor.finding import Finding
from machines_mcp.permissions.policy import Policy, PolicyError
from machines_mcp.redaction.display import not_decidable
from machines_mcp.server.app import App, opened
from machines_mcp.server.settings import Settings, SettingsError
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.server.state_folder import load_operator_policy
from machines_mcp.storage.database import StoreUnavailable

CONNECT_SECONDS = 5.0


async def run_checks(*, probe: bool = False) -> list[Finding]:
    """Run all checks, skipping those that an earlier failure prevents. `probe` also calls every read endpoint."""
    findings = [Finding(True, "version", f"machines-mcp {__version__} on Python {sys.version.split()[0]}")]
    try:
        # In a thread, because reading a keyring can block.
        settings = await anyio.to_thread.run_sync(read_settings)
    except SettingsError as error:
        return [*findings, Finding(False, "settings", str(error))]
    policy = _operator_policy(settings)
    users = None if isinstance(policy, PolicyError) else policy.users
    findings.append(Finding(True, "settings", _describe(settings, users)))
    from machines_mcp.cli.client_configs.clients import this_system
    from machines_mcp.cli.doctor.clients import clients, partner_key

    findings += [*partner_key(settings), await _vault(), clients(this_system())]
    if isinstance(policy, PolicyError):
        return [*findings, Finding(False, "policy", str(policy))]
    async with opened(settings) as app:
        findings.append(await _state(app))
        if findings[-1].ok:
            from machines_mcp.cli.doctor.chains import check_chains
            from machines_mcp.cli.doctor.state import check_safeguards

            findings += await check_safeguards(app)
            connected = await _connection(app)
            findings += [connected, *await check_chains(settings.rpc_urls, app.guard.policy.chains, probe=probe)]
            if probe and connected.ok:
                findings += await _endpoints(app)
    return findings


def _operator_policy(settings: Settings) -> Policy | PolicyError:
    try:
        return load_operator_policy(settings)
    except PolicyError as error:
        return error


def _describe(settings: Settings, users: Collection[str] | None) -> str:
    """Describe the settings; `users` are those that the policy lists, None if it lists none."""
    where = "the simulator on this machine" if settings.simulated else str(settings.api_url)
    if settings.user_id:
        who = f"user {settings.user_id}"
    elif users is None:
        who = "any user"
    else:
        who = f"the policy's {len(users)} user{'s' * (len(users) != 1)}"
    modes = (", read-only" if settings.read_only else "") + (", asks in the client" if settings.ask_in_client else "")
    return f"{settings.environment.value}, {where}, {who}{modes}"


async def _vault() -> Finding:
    from machines_mcp.vault.client import can_start

    if await can_start():
        return Finding(True, "vault", "the process that decrypts cards starts")
    return Finding(False, "vault", f"the process that decrypts cards does not start; {_vault_fix()}")


def _vault_fix() -> str:
    if Path(__file__).is_relative_to(site.getusersitepackages()):
        # It runs with `python -I`, so that the environment can't choose which code it loads.
        return "it ignores user installs (pip install --user). Install with pipx or in a virtual environment."
    return f"run {sys.executable} -I -m machines_mcp.vault </dev/null and install what is missing, best with pipx."


async def _state(app: App) -> Finding:
    folder = app.settings.state_dir
    try:
        waiting = len(await app.guard.channels.waiting())
        others = (await app.guard.pending.snapshot()).others_waiting
        elsewhere = not_decidable(others, await app.guard.channels.not_decidable())
    except StoreUnavailable as error:
        message = str(error) or f"{folder} can't be used; check its owner, mode (0700) and free space."
        return Finding(False, "state", message)
    more = f"; {elsewhere}" if elsewhere else ""
    return Finding(True, "state", f"{folder}, {waiting} waiting for approval{more}")


async def _connection(app: App) -> Finding:
    from machines_mcp.partner import PartnerError

    page = await app.connection.simulator_page()
    if app.settings.api_url is None:
        if page is not None:
            return Finding(True, "partner API", f"the simulator runs; its page: {page}")
        try:
            await app.connection.client()
        except PartnerError:
            return Finding(False, "partner API", "the simulator did not start; run machines-mcp sandbox.")
        # This one ends with the doctor, so its address would not answer.
        return Finding(True, "partner API", "the simulator starts; it has a page while a server uses it")
    # Only connect: any call with the key could create or change something.
    parts = urlsplit(app.settings.api_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with anyio.fail_after(CONNECT_SECONDS):
            await (await anyio.connect_tcp(str(parts.hostname), port)).aclose()
    except (OSError, TimeoutError):
        return Finding(False, "partner API", f"{parts.hostname}:{port} can't be reached; check the network and proxy.")
    simulator = f"; the simulator's page: {page}" if page else ""
    return Finding(True, "partner API", f"{parts.hostname}:{port} can be reached; the key was not tested{simulator}")


async def _endpoints(app: App) -> list[Finding]:
    from machines_mcp.cli.doctor.api_probe import format_result, probe, result_as_json
    from machines_mcp.partner import PartnerError

    try:
        rows = await probe(app)
    except PartnerError as error:
        return [Finding(False, "probe", f"could not start: {error}")]
    if rows is None:
        why = "a session makes its user, so name one who exists: set MACHINES_USER_ID for this command"
        return [Finding(False, "probe", f"not run; {why}")]
    return [Finding(row.ok, row.endpoint, format_result(row), result_as_json(row)) for row in rows]
