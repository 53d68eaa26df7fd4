"""An upstream on loopback, as in the client tests."""

from __future__ import annotations

from tests.partner.conftest import api, client

__all__ = ["api", "client"]
