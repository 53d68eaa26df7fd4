"""Report an unknown outcome where a call failed unexpectedly after it sent a change."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.protocol.responses import STATUS

logger = logging.getLogger(__name__)


@contextmanager
def unknown_once_sent(begun: Sequence[str]) -> Iterator[None]:
    """Run the block of a call whose journal entries are `begun`.

    Raises:
        ToolError: Its own, or `outcome.unknown`: every other code would say that nothing was done.
    """
    try:
        yield
        return
    except ToolError as error:
        # If it was frozen between two of its requests, the first may have taken effect.
        if error.code is not Code.POLICY_FROZEN or not begun:
            raise
    except Exception as error:
        if not begun:
            raise
        logger.error("a call failed unexpectedly after it sent a change: %s", type(error).__name__)
    raise ToolError(Code.OUTCOME_UNKNOWN, next_steps=[STATUS])
