"""An upstream on loopback, as the tests of the client have it."""

from __future__ import annotations

from tests.partner.conftest import api, client

__all__ = ["api", "client"]
