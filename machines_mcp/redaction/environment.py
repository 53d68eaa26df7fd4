"""The environments of the Partner API."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

SIMULATOR_NOTE: Final = "The simulator has no real users, cards or money."


class Environment(StrEnum):
    """Where calls go. `embedded` is a simulator on this machine; only `production` moves real money."""

    EMBEDDED = "embedded"
    SANDBOX = "sandbox"
    PRODUCTION = "production"
