"""The address of the Partner API: one pinned host, its proxy and its TLS trust."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from machines_mcp.redaction.loopback import is_loopback

if TYPE_CHECKING:
    import ssl

# No user, query or fragment, and no character that could make two parsers see different hosts.
_BASE_URL = re.compile(r"(https?)://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?(?:/[A-Za-z0-9._~/-]*)?")
_PROXY = re.compile(r"https?://[\x21-\x7e]+")


class Endpoint:
    """A validated base URL with its proxy and CA certificates.

    Raises:
        ValueError: `base_url` is neither https nor loopback, or has more than host, port and path. Or `proxy` is not
            an http or https URL.
    """

    def __init__(self, base_url: str, *, proxy: str | None = None, ca_certificates: str | None = None) -> None:
        found = _BASE_URL.fullmatch(base_url)
        if found is None or int(found[3] or 0) > 65535 or (found[1] == "http" and not is_loopback(found[2])):
            raise ValueError("the base URL must be https://host[:port]/path, or http:// on loopback")
        if proxy is not None and not _PROXY.fullmatch(proxy):
            raise ValueError("the proxy must be an http or https URL")
        self.url = base_url.rstrip("/")
        self.secure = found[1] == "https"
        # A proxy would resolve loopback to its own machine, and over plain HTTP it could read the partner key.
        self.proxy = None if is_loopback(found[2]) else proxy
        self._ca_certificates = ca_certificates

    def tls(self) -> ssl.SSLContext:
        """Create a context that trusts the system's store and the CA certificates. For plain HTTP it is empty, to save
        time.

        Raises:
            OSError: The CA certificates are invalid.
            ValueError: There are none in the text.
        """
        import ssl

        if not self.secure:
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        import truststore

        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self._ca_certificates is not None:
            context.load_verify_locations(cadata=self._ca_certificates)
        return context
