"""Where the Partner API is: one pinned host, the way to it, and whom TLS trusts there."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

# No user, query or fragment, and no character on which two parsers could disagree about the host.
_BASE_URL = re.compile(r"(https?)://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(?:/[A-Za-z0-9._~/-]*)?")
_PROXY = re.compile(r"https?://[\x21-\x7e]+")


class Endpoint:
    """A checked base URL with its proxy and its own certificates.

    Raises:
        ValueError: `base_url` is neither https nor loopback, or holds more than host, port and path; `proxy` is not
            an http or https URL.
    """

    def __init__(self, base_url: str, *, proxy: str | None = None, ca_file: str | None = None) -> None:
        found = _BASE_URL.fullmatch(base_url)
        if found is None or int(found[3] or 0) > 65535 or (found[1] == "http" and not _is_loopback(found[2])):
            raise ValueError("the base URL must be https://host[:port]/path, or http:// on loopback")
        if proxy is not None and not _PROXY.fullmatch(proxy):
            raise ValueError("the proxy must be an http or https URL")
        self.url = base_url.rstrip("/")
        self.secure = found[1] == "https"
        # What a proxy calls loopback is another machine, and over plain HTTP it would read the partner key.
        self.proxy = None if _is_loopback(found[2]) else proxy
        self._ca_file = ca_file

    def tls(self) -> ssl.SSLContext:
        """Trust in the system's store and the CA file; for plain HTTP in nobody, which takes no time to make.

        Raises:
            OSError: The CA file can't be read, or is none.
        """
        import ssl

        if not self.secure:
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        import truststore

        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self._ca_file is not None:
            context.load_verify_locations(cafile=self._ca_file)
        return context


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
