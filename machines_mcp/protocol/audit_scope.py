"""The row in the audit of a call that ended before the gate had any to write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from machines_mcp.permissions.approval_details import CallRequest
from machines_mcp.permissions.authorizer import Authorizer
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.storage.database import StoreUnavailable


@contextmanager
def audited(authorizer: Authorizer, call_request: CallRequest | None) -> Iterator[None]:
    """Where what is done within ends the call, note how. Without a `demand` it was a call of no tool of ours."""
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
