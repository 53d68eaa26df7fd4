"""What keeps a client's config from being changed."""

from __future__ import annotations


class ConfigFault(Exception):
    """The config stays as it is; the message is one sentence that says why and what to do."""


class Unreadable(Exception):
    """The text is not what the client's format says; the message is a clause without a value of it."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line
        """Where, counted from 1."""
