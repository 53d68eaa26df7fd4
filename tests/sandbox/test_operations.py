"""The sandbox serves exactly the operations that the contract documents."""

from __future__ import annotations

from machines_mcp.sandbox.operations import OPERATIONS
from tests.contract.judge import contract


def test_every_operation_is_served_with_its_scope_and_preconditions() -> None:
    served = {
        (operation.method, operation.path, operation.partner, operation.scope, operation.kyc, operation.agreements)
        for operation in OPERATIONS
    }
    documented = {
        (op.method, op.template, op.partner_key, op.scope, "kyc" in op.gates, "agreements" in op.gates)
        for op in contract().operations
    }
    assert served == documented
    assert len(served) == len(OPERATIONS) == 29
