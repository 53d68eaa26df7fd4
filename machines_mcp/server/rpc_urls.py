"""Read the addresses of chains' nodes: `MACHINES_RPC_URL_<chain id>`, or the same with `_FILE`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from machines_mcp.chain.rpc_url import rpc_url_fault
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.partner_key import PartnerKeyError, read_secret_file
from machines_mcp.server.settings import SettingsError

_NAME = re.compile(r"MACHINES_RPC_URL_([1-9][0-9]{0,14})(_FILE)?")


def is_rpc_variable(name: str) -> bool:
    """Whether a variable names a chain's node, or the file with its address."""
    return _NAME.fullmatch(name) is not None


def holds_rpc_url(name: str) -> bool:
    """Whether the value of a variable is the address itself, which often has an access key."""
    return is_rpc_variable(name) and not name.endswith("_FILE")


def parse_rpc_urls(values: Mapping[str, str]) -> dict[int, Secret]:
    """Return the nodes' addresses by chain id.

    Raises:
        SettingsError: An address is not usable, is in a file that is not, or is given twice.
    """
    found: dict[int, Secret] = {}
    for name, value in sorted(values.items()):
        parts = _NAME.fullmatch(name)
        if parts is None:
            continue
        chain_id = int(parts[1])
        if chain_id in found:
            raise SettingsError(f"{name.removesuffix('_FILE')} and {name} are both set; keep one.")
        url = _read(name, Path(value)) if parts[2] else value
        if fault := rpc_url_fault(url):
            raise SettingsError(f"{name} {'names a file whose address ' * bool(parts[2])}{fault}.")
        found[chain_id] = Secret(url)
    return found


def _read(name: str, path: Path) -> str:
    try:
        return read_secret_file(path, name)
    except PartnerKeyError as fault:
        raise SettingsError(str(fault)) from None
