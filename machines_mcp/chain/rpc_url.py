"""Addresses of nodes: which may be used, and what of them may be shown."""

from __future__ import annotations

import re

from machines_mcp.redaction.loopback import is_loopback

# No user and no fragment, and no character that could make two parsers see different hosts. Access keys of providers
# are in the path or in the query.
_URL = re.compile(
    r"(https?)://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?([/?][A-Za-z0-9._~/?&=:%+,-]*)?", re.IGNORECASE
)
MAX_URL = 2048


def rpc_url_fault(url: str) -> str | None:
    """Return why the URL can't be that of a node, as words after its name; None if it can."""
    found = _URL.fullmatch(url) if len(url) <= MAX_URL else None
    if found is None or int(found[3] or 0) > 65_535 or (found[1].lower() == "http" and not is_loopback(found[2])):
        return "must be an https URL, or an http URL of this machine (127.0.0.1), without a user name"
    return None


def shown_host(url: str) -> str:
    """Return the host of a valid URL. Only this may be shown: the rest often holds an access key."""
    found = _URL.fullmatch(url)
    return "" if found is None else found[2].lower()


def has_access_key(url: str) -> bool:
    """Whether a valid URL has a path or a query, in which providers put the access key."""
    found = _URL.fullmatch(url)
    return found is not None and (found[4] or "/") != "/"
