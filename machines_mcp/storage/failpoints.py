"""Named failpoints for the crash tests."""

from __future__ import annotations

from collections.abc import Callable

hook: Callable[[str], None] | None = None
"""Called with the name of each failpoint that is reached. Only test processes set it."""


def failpoint(name: str) -> None:
    """Reach the failpoint `name`."""
    if hook is not None:
        hook(name)
