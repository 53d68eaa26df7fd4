"""What one response may show, and what is sent in its place if it is withheld. It travels with its request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from mcp.server.context import ServerRequestContext

ResultMaker: TypeAlias = Callable[[], dict[str, Any]]
"""Makes the result to send instead."""


class Allowance:
    """The allowance of one request: its response, and the questions sent before it."""

    __slots__ = ("_instead", "_values")

    def __init__(self) -> None:
        self._values: frozenset[str] = frozenset()
        self._instead: tuple[ResultMaker, ...] = ()

    @property
    def values(self) -> frozenset[str]:
        """The values that may be shown verbatim, each as a whole string."""
        return self._values

    @property
    def instead(self) -> tuple[ResultMaker, ...]:
        """What to try in place of a withheld response, best first. Empty unless it is a tool call's."""
        return self._instead

    def begin(self, instead: ResultMaker) -> None:
        """Begin a tool call, with the result for whatever its response would have been."""
        self._values, self._instead = frozenset(), (instead,)

    def allow(self, values: Iterable[str]) -> None:
        """Show these values verbatim, too."""
        self._values = self._values.union(values)

    def prefer(self, instead: ResultMaker) -> None:
        """Send this instead, if that is not withheld itself."""
        self._instead = (instead, *self._instead)


def allowance_of(ctx: ServerRequestContext[Any, Any]) -> Allowance:
    """Return the allowance of a request, which its transport made. A read that belongs to no request gets its own."""
    return ctx.request if ctx.request_id is not None and isinstance(ctx.request, Allowance) else Allowance()


NOTHING = Allowance()
"""The allowance of a message that answers no request."""
