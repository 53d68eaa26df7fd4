"""Read the operator's settings from the environment, once, and check them.

A missing, unknown or contradictory setting stops the start with one sentence that says what to do.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from machines_mcp.protocol.toolset import TOOLSETS
from machines_mcp.redaction.environment import Environment
from machines_mcp.redaction.loopback import is_loopback
from machines_mcp.redaction.placeholders import placeholder_fault
from machines_mcp.redaction.secret import Secret
from machines_mcp.redaction.user_id import user_id_fault
from machines_mcp.server.partner_key import PartnerKeyError, configured_key, stored_key
from machines_mcp.server.rpc_urls import is_rpc_variable, parse_rpc_urls
from machines_mcp.server.settings import PRODUCTION_URL, SANDBOX_URL, Settings, SettingsError, parse_desk_port

VARIABLES = frozenset(
    {
        "MACHINES_ENV",
        "MACHINES_PARTNER_KEY",
        "MACHINES_PARTNER_KEY_FILE",
        "MACHINES_API_URL",
        "MACHINES_USER_ID",
        "MACHINES_POLICY",
        "MACHINES_STATE_DIR",
        "MACHINES_TOOLSETS",
        "MACHINES_READ_ONLY",
        "MACHINES_ASK_IN_CLIENT",
        "MACHINES_PROXY",
        "MACHINES_CA_FILE",
        "MACHINES_LOG_LEVEL",
        "MACHINES_TRACE",
        "MACHINES_DESK_PORT",
    }
)
"""Every setting but those of `rpc_urls`. Any other variable that begins with MACHINES_ is refused."""

MAX_CA_BYTES = 1024 * 1024
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

# A strict subset without user names, escapes or queries, which two URL parsers could read differently.
_LOCAL_URL = re.compile(
    r"https?://(localhost|[0-9.]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?(?:/[^@%?#\\]*)?", re.IGNORECASE
)


def read_settings(env: Mapping[str, str] | None = None) -> Settings:
    """Read and check the settings in `env` (the process environment by default).

    Raises:
        SettingsError: A variable is unknown, malformed, missing or contradicts another.
    """
    values = {k: v for k, v in (os.environ if env is None else env).items() if k.startswith("MACHINES_") and v != ""}
    _reject_unknown(values)
    _reject_placeholders(values)
    try:
        found = configured_key(values)
        environment = _parse_environment(values, has_key=found is not None)
        if environment is not Environment.EMBEDDED and found is None:
            found = stored_key(environment)
    except PartnerKeyError as fault:
        raise SettingsError(str(fault)) from None
    user_id = parse_user_id(values.get("MACHINES_USER_ID"))
    policy = _parse_policy_path(values.get("MACHINES_POLICY"))
    if environment is not Environment.EMBEDDED and user_id is None and policy is None:
        raise SettingsError(
            f"MACHINES_ENV={environment} needs MACHINES_USER_ID, the one user this server may act for, or a policy "
            "(MACHINES_POLICY) that lists users."
        )
    return Settings(
        environment=environment,
        partner_key=found.key if found else None,
        api_url=_parse_api_url(values.get("MACHINES_API_URL"), environment),
        user_id=user_id,
        policy=policy,
        state_dir=_parse_state_dir(values.get("MACHINES_STATE_DIR"), environment, found.key if found else None),
        toolsets=_parse_toolsets(values.get("MACHINES_TOOLSETS")),
        read_only=parse_flag("MACHINES_READ_ONLY", values.get("MACHINES_READ_ONLY")),
        proxy=_parse_proxy(values.get("MACHINES_PROXY")),
        ca_certificates=_read_ca_file(values.get("MACHINES_CA_FILE")),
        log_level=_parse_log_level(values.get("MACHINES_LOG_LEVEL", "WARNING")),
        trace=_parse_trace_path(values.get("MACHINES_TRACE")),
        desk_port=parse_desk_port(values.get("MACHINES_DESK_PORT")),
        partner_key_file=found.file if found else None,
        key_source=found.source if found else None,
        ask_in_client=parse_flag("MACHINES_ASK_IN_CLIENT", values.get("MACHINES_ASK_IN_CLIENT")),
        rpc_urls=parse_rpc_urls(values),
    )


def _reject_unknown(values: Mapping[str, str]) -> None:
    for name in sorted(name for name in values.keys() - VARIABLES if not is_rpc_variable(name)):
        known = [variable.removeprefix("MACHINES_") for variable in VARIABLES | {"MACHINES_RPC_URL_1"}]
        near = difflib.get_close_matches(name.removeprefix("MACHINES_"), known, n=1)
        hint = f" Did you mean MACHINES_{near[0].replace('URL_1', 'URL_<chain id>')}?" if near else ""
        # Silently ignoring a misspelt limit would be worse than not starting.
        raise SettingsError(f"This MACHINES_ variable is not a setting: {name[:40]}.{hint}")


def _reject_placeholders(values: Mapping[str, str]) -> None:
    for name, value in sorted(values.items()):
        if fault := placeholder_fault(value):
            raise SettingsError(f"{name} {fault}.")


def _parse_environment(values: Mapping[str, str], *, has_key: bool) -> Environment:
    name = values.get("MACHINES_ENV")
    if name is None:
        if has_key:
            raise SettingsError("A partner key is set but MACHINES_ENV is not; set it to sandbox or production.")
        return Environment.EMBEDDED
    if name not in set(Environment):
        raise SettingsError("MACHINES_ENV must be embedded, sandbox or production.")
    environment = Environment(name)
    if environment is Environment.EMBEDDED and has_key:
        raise SettingsError("MACHINES_ENV=embedded takes no partner key; unset the key or choose sandbox.")
    return environment


def _parse_api_url(value: str | None, environment: Environment) -> str | None:
    if value is None:
        return {Environment.SANDBOX: SANDBOX_URL, Environment.PRODUCTION: PRODUCTION_URL}.get(environment)
    if environment is not Environment.SANDBOX:
        raise SettingsError("MACHINES_API_URL works only with MACHINES_ENV=sandbox; unset it.")
    if not _is_local(value):
        raise SettingsError("MACHINES_API_URL must be a plain http or https URL on this machine (127.0.0.1).")
    return value.rstrip("/")


def _is_local(url: str) -> bool:
    found = _LOCAL_URL.fullmatch(url)
    plain = url.isascii() and url.isprintable() and " " not in url
    if found is None or not plain or int(found[2] or 0) > 65535:
        return False
    return is_loopback(found[1])


def parse_user_id(value: str | None) -> str | None:
    """Return MACHINES_USER_ID unchanged if it is valid.

    Raises:
        SettingsError: No tool would accept it.
    """
    if value is not None and (fault := user_id_fault(value)):
        raise SettingsError(f"MACHINES_USER_ID {fault}.")
    return value


def _parse_policy_path(value: str | None) -> Path | None:
    if value is None:
        return None
    if not Path(value).is_absolute():
        raise SettingsError("MACHINES_POLICY must be an absolute path.")
    return Path(value)


def _parse_state_dir(value: str | None, environment: Environment, key: Secret | None) -> Path:
    if value is None:
        import platformdirs

        root = platformdirs.user_state_path("machines-mcp", appauthor=False)
    else:
        try:
            root = Path(value).expanduser()
        except RuntimeError:  # no such user
            root = Path(value)
        if not root.is_absolute():
            raise SettingsError("MACHINES_STATE_DIR must be an absolute path.")
    if key is None:
        return root / environment.value
    fingerprint = hashlib.sha256(b"machines-mcp state folder\0" + key.expose().encode()).hexdigest()[:12]
    return root / f"{environment.value}-{fingerprint}"


def _parse_toolsets(value: str | None) -> frozenset[str]:
    if value is None:
        return frozenset(TOOLSETS)
    chosen = frozenset(name.strip() for name in value.split(",") if name.strip())
    if not chosen or not chosen <= set(TOOLSETS):
        raise SettingsError(f"MACHINES_TOOLSETS must be a comma-separated list of: {', '.join(TOOLSETS)}.")
    return chosen


def parse_flag(name: str, value: str | None) -> bool:
    """Parse a yes-or-no variable; unset means no.

    Raises:
        SettingsError: It is neither.
    """
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if value is None:
        return False
    if value.lower() not in known:
        raise SettingsError(f"{name} must be true or false.")
    return known[value.lower()]


def _parse_proxy(value: str | None) -> str | None:
    try:
        parts = urlsplit(value or "")
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if value is not None and not whole:
        raise SettingsError("MACHINES_PROXY must be an http or https URL.")
    return value


def _read_ca_file(value: str | None) -> str | None:
    """Read the certificates once, so that nobody can exchange them while the server runs."""
    if value is None:
        return None
    from machines_mcp.storage.trusted_file import NotOwned, read_owned

    try:
        # Certificates are ASCII. A comment beside them may not be.
        return read_owned(Path(value), MAX_CA_BYTES).decode("ascii", "ignore")
    except NotOwned as error:
        raise SettingsError(f"MACHINES_CA_FILE must be a file of PEM certificates, but it {error}.") from None


def _parse_log_level(value: str) -> str:
    if value.upper() not in _LEVELS:
        raise SettingsError(f"MACHINES_LOG_LEVEL must be one of: {', '.join(_LEVELS)}.")
    return value.upper()


def _parse_trace_path(value: str | None) -> Path | None:
    if value is None:
        return None
    if not Path(value).is_absolute():
        raise SettingsError("MACHINES_TRACE must be an absolute path.")
    from machines_mcp.partner.trace import open_trace

    try:
        os.close(open_trace(value))
    except (OSError, ValueError):
        raise SettingsError("MACHINES_TRACE must be a writable file.") from None
    return Path(value)
