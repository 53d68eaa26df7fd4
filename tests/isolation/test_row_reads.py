"""Every function that reads rows of users takes the principal, the user or the call it reads for."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.packaging.test_layout import modules
from tests.support.running_sandbox import ROOT

_TABLES = r"(approvals|mutations|withdrawals|quotes|audit|freezes|known_users|payouts|daily_totals|user_daily_totals)"
_READS = re.compile(rf"\bSELECT\b.*\bFROM {_TABLES}\b", re.DOTALL)
_FOR = {"principal", "audit_principal", "call_request", "user_id"}
"""The parameters (or attributes) that name the users a read is for."""

WITHOUT = {
    "cli.prune._kept": "returns only numbers",
    "permissions.approval_rows.prune_unused": "deletes, and returns only a number",
    "storage.audit_forgetting.replace_user": "changes the rows of the user whom the operator forgets",
    "storage.audit_pruning.mac_of": "returns a row's MAC",
    "storage.audit_pruning.prune_batch": "deletes, and returns only a number",
    "storage.transactions.add_transaction": "adds a row for the user of its withdrawal, and returns nothing",
    "storage.withdrawals.prune_quotes": "deletes, and returns only a number",
    "permissions.approval_rows.is_sealed": "returns only whether a row has sealed data, which its decision erases",
    "permissions.approval_rows.sealed_until": "returns only times, to erase sealed data in time",
    "permissions.clock.ClockCheck.rebase": "stores the number of the newest row",
    "permissions.clock.newest_time": "returns only the time of the newest row",
    "storage.audit_chain._rows": "reads for the verification, which returns no row",
    "storage.audit_checkpoint.holds": "reads for the verification, which returns no row",
    "storage.audit_checkpoint.newest": "returns a row's number, time and MAC",
    "storage.card_changes.claim_undo": "changes a lock that was read for the principal, and returns nothing",
    "storage.concurrent_requests.concurrent_changes": "reads the other changes of the entry's user",
    "storage.concurrent_requests.concurrent_requests": "reads the other requests of the entry's user",
    "storage.journal_entry.selected": "its callers filter by user, or know the approval or key",
    "storage.withdrawals.Withdrawals.release": "changes the quote of a withdrawal that was read for the principal",
    "storage.withdrawals.Withdrawals._newest": "finds a row by an id that was read for the principal",
}


def _readers(root: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef, str]]:
    """Yield each function that selects rows, by itself or through a constant of its module."""
    for module, path in modules(root).items():
        if ".sandbox" in module:
            continue
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        constants = {
            node.targets[0].id
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and _selects(source, node)
        }
        for owner, function in _functions(tree):
            names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
            if _selects(source, function) or names & constants:
                name = ".".join(filter(None, [module.removeprefix("machines_mcp."), owner, function.name]))
                yield name, function, source


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield "", node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield node.name, inner


def _selects(source: str, node: ast.AST) -> bool:
    return _READS.search(ast.get_source_segment(source, node) or "") is not None


def _is_for_somebody(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    given = {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}
    return bool(given & _FOR)


def test_every_read_of_rows_is_for_a_principal_or_a_user() -> None:
    found = {name: function for name, function, _ in _readers(ROOT)}
    assert len(found) > 15  # the functions were found
    assert {name for name, function in found.items() if not _is_for_somebody(function)} == WITHOUT.keys()
