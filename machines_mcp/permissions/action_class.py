"""Action classes, computed from a call's arguments. The policy sets rules for these classes."""

from __future__ import annotations

from enum import StrEnum


class ActionClass(StrEnum):
    """The action class of a call."""

    READ = "read"
    WRITE = "write"
    MONEY = "money"
    IDENTITY = "identity"
    CONSENT = "consent"
    DESTROY = "destroy"
    REVEAL = "reveal"


PLAIN = frozenset({ActionClass.READ, ActionClass.WRITE})
"""The classes whose calls need no approval by default. Others let more be spent, seen or done, or can't be undone."""
