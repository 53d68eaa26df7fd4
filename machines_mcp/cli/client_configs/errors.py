"""Errors that keep a client's config from being changed."""

from __future__ import annotations


class ConfigError(Exception):
    """The config was not changed. The message says why and what to do."""


class Unreadable(Exception):
    """The text is not valid in the client's format. The message is a clause without any value from the text."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line
        """The line of the error, counted from 1."""
