"""Recognize requests from a page's own origin, and build the headers that isolate the page from other sites.

Another site in the same browser can send requests here, but can't choose their Host, Origin or Sec-Fetch-Site. A DNS
name rebound to this address arrives with its own Host. Programs on this machine can send any header.
"""

from __future__ import annotations

import hmac

from machines_mcp.web.asgi import Header, Scope, header_values
from machines_mcp.web.loopback import HOST


class SameOrigin:
    """Checks a request's headers against the origin `http://127.0.0.1:{port}`."""

    def __init__(self, port: int) -> None:
        self._host = f"{HOST}:{port}"
        self._origin = f"http://{self._host}"

    def has_own_host(self, scope: Scope) -> bool:
        """Return whether the request was sent to this address and not to a name that resolves to it."""
        return header_values(scope, b"host") == [self._host]

    def is_own_submission(self, scope: Scope) -> bool:
        """Return whether a page of this origin submitted the form."""
        return header_values(scope, b"origin") == [self._origin] and header_values(scope, b"sec-fetch-site") in (
            [],
            ["same-origin"],
        )

    def has_no_other_origin(self, scope: Scope) -> bool:
        """Return whether the request has no Origin or this one."""
        return header_values(scope, b"origin") in ([], [self._origin])


def has_origin(scope: Scope) -> bool:
    """Return whether the request has an Origin header. Browsers send none with a navigation by GET."""
    return header_values(scope, b"origin") != []


def is_navigation(scope: Scope) -> bool:
    """Return whether a person opened the page: by its address, from this origin, or by a link on another site."""
    if header_values(scope, b"sec-fetch-site") in ([], ["none"], ["same-origin"]):
        return True
    # A link on another site, such as a chat, may lead here. That site's frames, images and scripts may not load it.
    opened = (header_values(scope, b"sec-fetch-mode"), header_values(scope, b"sec-fetch-dest"))
    return opened == (["navigate"], ["document"])


def security_headers(*, sources: str, referrer: str, permissions: str) -> list[Header]:
    """Return the response headers that block other sites, foreign content and caching.

    Args:
        sources: What the page may load, as directives of the content security policy. The rest is blocked.
        referrer: The referrer policy. On a page with a form, `no-referrer` would make browsers send `Origin: null`.
        permissions: The permissions policy.
    """
    policy = f"default-src 'none'; {sources}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    headers = {
        "content-security-policy": policy,
        "cache-control": "no-store",
        "referrer-policy": referrer,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": permissions,
    }
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def constant_time_equal(given: str, known: str) -> bool:
    """Compare in a time that reveals nothing about `known`."""
    return hmac.compare_digest(given.encode(errors="replace"), known.encode())
