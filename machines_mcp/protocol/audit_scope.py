"""The row in the audit of a call that ended before the gate had any to write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from machines_mcp.permissions.approval_details import Demand
from machines_mcp.permissions.authorizer import Gate
from machines_mcp.protocol.errors import Code, Refusal
from machines_mcp.storage.database import StoreUnavailable


@contextmanager
def noted(gate: Gate, demand: Demand | None) -> Iterator[None]:
    """Where what is done within ends the call, note how. Without a `demand` it was a call of no tool of ours."""
    try:
        yield
    except Refusal as refusal:
        gate.note(demand, refusal.code.value)
        raise
    except StoreUnavailable:
        gate.note(demand, Code.STATE_UNAVAILABLE.value)
        raise
    except Exception:
        gate.note(demand, Code.INTERNAL.value)
        raise
