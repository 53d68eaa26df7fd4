"""Text is cut in one place, after it was looked at: `redaction/foreign_text.py`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import machines_mcp

PACKAGE = Path(machines_mcp.__file__).parent
# These folders read and never show a part: the detectors, the editors of config files, the simulator, and the bytes of
# chains.
NOT_SEARCHED = ("redaction", "cli/client_configs", "sandbox", "chain")
REVIEWED = {
    "cli/approvals.py: approval.id[:12]": "the id of an approval",
    "cli/approvals.py: found[:MAX_NAMED]": "a list",
    "cli/audit.py: cell[:8]": "the id of an approval",
    "cli/commands/run.py: name.lower().replace('-', '_')[:100]": "what a person typed, which is not shown",
    "cli/doctor/state.py: policy.digest[:12]": "our own digest",
    "cli/policy_report.py: policy.digest[:12]": "our own digest",
    "cli/prompt.py: line.removesuffix(b'\\r')[:MAX_LINE_BYTES]": "what a person types, which is shown nowhere",
    "cli/tools_table.py: policy.digest[:12]": "our own digest",
    "desk/approvals_page.py: [user for user in dict.fromkeys(users) if user and await known(user)]"
    "[:MAX_CHECKS]": "a list",
    "desk/approvals_page.py: [approval for approval in recent if approval.id not in ids][:MAX_DECIDED]": "a list",
    "desk/audit_page.py: query.get('tool', '')[:60]": "what a person searches for",
    "desk/audit_page.py: query.get('user', '').strip()[:120]": "what a person searches for",
    "desk/audit_page.py: day[:10]": "what a person searches for",
    "desk/audit_page.py: rows[:ROWS_PER_PAGE]": "a list",
    "desk/kyc_form.py: values.flat_fields()[:MAX_FIELDS]": "a list",
    "desk/kyc_options.py: (api_field.enum or ())[:MAX_OPTIONS]": "a list",
    "desk/kyc_options.py: jobs[:MAX_OPTIONS]": "a list",
    "desk/peer_check.py: challenge[:64]": "our own random text",
    "desk/secret_path.py: hmac.digest(key, b'desk path', 'sha256').hex()[:LENGTH]": "our own digest",
    "desk/templates.py: address[:6]": "all three parts are shown",
    "desk/withdrawal_page.py: form.get('signature', '')[:MAX_TYPED]": "what a browser sends, which is shown nowhere",
    "desk/withdrawal_page.py: form.get('hash', '').strip()[:MAX_TYPED]": "what a browser sends, which is shown nowhere",
    "permissions/approval.py: arguments_digest(key, {name: value})[:16]": "our own digest",
    "permissions/sealed_identity.py: approval.sealed[:_NONCE_BYTES]": "ciphertext",
    "protocol/completion.py: values[:MOST]": "a list",
    "server/browser.py: hashlib.sha256(url.encode()).hexdigest()[:16]": "our own digest",
    "server/settings_reader.py: hashlib.sha256(b'machines-mcp state folder\\x00' + key.expose().encode())"
    ".hexdigest()[:12]": "our own digest",
    "server/settings_reader.py: name[:40]": "the name of a variable, for the operator",
    "storage/audit_chain.py: faults[:MAX_FAULTS]": "a list",
    "storage/audit_checkpoint.py: checkpoint.mac[:2 * MAC_PREFIX]": "our own digest",
    "storage/audit_pruning.py: mac[:MAC_PREFIX]": "our own digest",
    "storage/audit_record.py: hmac.digest(key, b'value\\x00' + value.encode('utf-8', 'replace'), 'sha256').hex()[:16]":
        "our own digest",
    "tools/kyc_fields.py: found[:10]": "a list",
    "tools/status.py: items[::-1][:MAX_LISTED]": "a list",
    "tools/status.py: policy.digest[:12]": "our own digest",
    "tools/status.py: found.freezes[:MAX_LISTED]": "a list",
    "tools/status.py: found.transactions[:MAX_LISTED]": "a list",
    "tools/status.py: (_checks(state, unknown) + withdrawal_steps(state, found.transactions))[:MAX_LISTED]": "a list",
    "vault/page_view.py: number[4:10]": "all three parts are shown, on the card's own page",
}  # fmt: skip


def cuts(source: str) -> Iterator[str]:
    """Yield the slices from the start up to a limit, which can cut a text."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Slice):
            continue
        limit = node.slice.upper
        if limit is None or not isinstance(node.ctx, ast.Load):
            continue
        number = isinstance(limit, ast.Constant) and isinstance(limit.value, int) and limit.value >= 5
        named = isinstance(limit, ast.Name | ast.Attribute | ast.BinOp) and node.slice.lower is None
        if number or (named and any(c.isupper() for c in ast.unparse(limit))):
            yield ast.unparse(node)


def test_no_other_module_cuts_a_text() -> None:
    found = {
        f"{name}: {cut}"
        for path in PACKAGE.rglob("*.py")
        if not (name := path.relative_to(PACKAGE).as_posix()).startswith(NOT_SEARCHED)
        for cut in cuts(path.read_text("utf-8"))
    }
    assert found - REVIEWED.keys() == set()
    assert REVIEWED.keys() - found == set()


def test_cut_is_found_in_each_form() -> None:
    source = "a = t[:200]; b = t[:MAX]; c = f(t)[:x.MOST - 1]; d = t[:4]; e = t[:end]; t[:200] = ''"
    assert list(cuts(source)) == ["t[:200]", "t[:MAX]", "f(t)[:x.MOST - 1]"]
