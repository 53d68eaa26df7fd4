"""The moments at which a crash would matter most, by name, for the tests that crash a server there."""

from __future__ import annotations

from collections.abc import Callable

hook: Callable[[str], None] | None = None
"""Called with the name of each point that is passed. None in the product: only a test's own process sets it."""


def failpoint(name: str) -> None:
    """Pass the point `name`."""
    if hook is not None:
        hook(name)
