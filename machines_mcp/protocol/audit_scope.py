"""Write the audit row of a call that ended before authorization wrote one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from machines_mcp.permissions.approval_details import CallRequest
from machines_mcp.permissions.authorizer import Authorizer
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.storage.database import StoreUnavailable


@contextmanager
def audited(authorizer: Authorizer, call_request: CallRequest | None) -> Iterator[None]:
    """If the block raises, note the error code in the audit. `demand` is None for an unknown tool."""
    try:
        yield
    except ToolError as tool_error:
        authorizer.record(call_request, tool_error.code.value)
        raise
    except StoreUnavailable:
        authorizer.record(call_request, Code.STATE_UNAVAILABLE.value)
        raise
    except Exception:
        authorizer.record(call_request, Code.INTERNAL.value)
        raise
