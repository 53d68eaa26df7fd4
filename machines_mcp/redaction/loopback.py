"""Tell addresses of this machine from others."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether the host of a URL is this machine: `localhost`, or an address such as 127.0.0.1 or [::1]."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
