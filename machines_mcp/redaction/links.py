"""Links that a person may be asked to open: exact, or absent."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

MAX_LINK = 4_000
# Visible ASCII without the characters that end a link in a text, a page or a terminal.
_PLAIN = re.compile(r"[!#-;=?-\[\]_a-z~]+")


def is_openable(link: str) -> bool:
    """Return whether a person may open this link: https with a host, or http on this machine; at most 4,000 long."""
    if len(link) > MAX_LINK or _PLAIN.fullmatch(link) is None:
        return False
    try:
        parts = urlsplit(link)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return False
    # A name before the host could pass for the host.
    if not host or parts.username is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_local(host))


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
