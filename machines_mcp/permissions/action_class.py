"""What a call would do to the world, computed from its arguments. The policy speaks of these classes."""

from __future__ import annotations

from enum import StrEnum


class ActionClass(StrEnum):
    """The class of a call."""

    READ = "read"
    WRITE = "write"
    MONEY = "money"
    IDENTITY = "identity"
    CONSENT = "consent"
    DESTROY = "destroy"
    REVEAL = "reveal"
