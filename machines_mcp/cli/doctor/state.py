"""Check the safeguards: policy, passphrase, audit, file access and desk. List unresolved calls."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from machines_mcp.cli.audit import Unverifiable, read_checkpoint, verification_message
from machines_mcp.cli.clock import describe
from machines_mcp.cli.doctor.file_permissions import describe_access, has_access, is_private, user_name
from machines_mcp.cli.doctor.finding import Finding
from machines_mcp.cli.freeze import describe_freezes
from machines_mcp.cli.unresolved import unresolved_calls
from machines_mcp.permissions.passphrase import APPROVALS_DISABLED
from machines_mcp.permissions.passphrase_tries import format_alarm
from machines_mcp.permissions.policy import Rule
from machines_mcp.redaction.display import moment, others_unresolved
from machines_mcp.redaction.environment import SIMULATOR_NOTE
from machines_mcp.server.app import App
from machines_mcp.storage.audit_log import AuditEntry
from machines_mcp.storage.database import StoreUnavailable
from machines_mcp.storage.desk_note import port_taken

_OWN_USER = (
    "including an agent's shell, can read the partner key and change state and policy; docs/production.md shows how to "
    "give the server a user of its own"
)


_MESSAGES = {
    "running": "a server is executing it.",
    "unknown": "it was interrupted. A server checks its outcome when it starts, and when the call is repeated.",
    "needs_person": "{why} Check at Machines, then run machines-mcp doctor --resolve.",
}


class _Rollback(Exception):
    """Rolls back the trial transaction."""


async def check_safeguards(app: App) -> list[Finding]:
    """Run these checks. The state folder must be usable."""
    findings = [_policy(app), _passphrase(app), *await _wrong_passphrases(app), await _freeze(app), await _clock(app)]
    findings += [await _audit(app), *_files(app), await _desk(app)]
    return [*findings, *await _unresolved(app)]


def _policy(app: App) -> Finding:
    policy = app.policy
    where = "no file, defaults" if policy.source == "default" else policy.source
    return Finding(True, "policy", f"{where} for {policy.environment}, digest {policy.digest[:12]}")


def _passphrase(app: App) -> Finding:
    try:
        verifier = app.guard.passphrase.read_verifier()
    except StoreUnavailable as error:
        return Finding(False, "passphrase", str(error) or "its file can't be read")
    if verifier is not None:
        return Finding(True, "passphrase", f"set {moment(verifier.set_at)} UTC")
    if not app.policy.needs_passphrase:
        return Finding(True, "passphrase", f"not set; {app.policy.environment} does not need one")
    if not _requires_approvals(app):
        return Finding(True, "passphrase", "not set; this policy does not need one")
    return Finding(False, "passphrase", APPROVALS_DISABLED)


async def _wrong_passphrases(app: App) -> list[Finding]:
    return [Finding(False, "passphrase", format_alarm(found)) for found in await app.guard.passphrase.tries.alarms()]


def _requires_approvals(app: App) -> bool:
    policy = app.policy
    rules = [*policy.rules.values(), *(rule for tool in policy.tools.values() for rule in tool.values())]
    return Rule.ASK in rules


async def _freeze(app: App) -> Finding:
    found = await app.guard.freezes.all()
    if not found:
        return Finding(True, "freeze", "changes are not frozen")
    return Finding(False, "freeze", describe_freezes(found))


async def _clock(app: App) -> Finding:
    until = await app.guard.clock_check.held_until()
    if until is None:
        return Finding(True, "clock", "ok")
    fix = "Correct the clock. If it is right now, run machines-mcp state rebase-clock."
    return Finding(False, "clock", f"{describe(until)} {fix}")


async def _audit(app: App) -> Finding:
    try:
        checkpoint = read_checkpoint(app.policy.head_file)
        verification = await app.guard.audit.verified(checkpoint)
        await _try_to_write(app)
    except Unverifiable as error:
        return Finding(False, "audit", str(error))
    except StoreUnavailable:
        return Finding(False, "audit", "no row can be written, so changes are refused; check free space.")
    if verification.ok and verification.rows and app.policy.head_file is not None and checkpoint is None:
        return Finding(False, "audit", f"no checkpoint at {app.policy.head_file}; see machines-mcp audit verify.")
    if not verification.ok:
        return Finding(False, "audit", verification_message(verification, checkpoint))
    rows, seen = verification.rows, checkpoint is not None
    more = "" if seen else "; deleting the newest rows goes unnoticed, see machines-mcp audit verify --write-head"
    return Finding(True, "audit", f"the log is intact ({rows} row{'s' * (rows != 1)}) and can be written{more}")


async def _try_to_write(app: App) -> None:
    def work(db: Any) -> None:
        app.guard.audit.append_in(db, AuditEntry("setting", code="doctor"))
        raise _Rollback

    try:
        await app.store.run(work)
    except _Rollback:
        return


def _files(app: App) -> Iterator[Finding]:
    if os.name != "posix":
        yield Finding(True, "files", "file access is not checked on this system")
        return
    yield _private_files_finding(app)
    yield _caller_finding(app)


def _private_files(app: App) -> list[Path]:
    """Return the files that no other user may read or write."""
    folder = app.settings.state_dir
    key = app.settings.partner_key_file
    return [path for path in [*sorted(folder.rglob("*")), *([key] if key else [])] if path.is_file()]


def _private_files_finding(app: App) -> Finding:
    uids = frozenset({0, os.geteuid()})
    policy = app.settings.policy
    try:
        open_ones = [
            f"{path}: {describe_access(path, act)} can {act} it"
            for path in _private_files(app)
            for act in ("read", "write")
            if not is_private(path, act, uids=uids)
        ]
        if policy is not None and not is_private(policy, "write", uids=uids):
            open_ones.append(f"{policy}: {describe_access(policy, 'write')} can write it")
        readers = "" if policy is None else f"; {describe_access(policy, 'read')} can read the policy"
    except OSError:
        return Finding(False, "files", f"{app.settings.state_dir} and its files can't be inspected")
    if open_ones:
        more = f" (and {len(open_ones) - 1} more)" if len(open_ones) > 1 else ""
        return Finding(False, "files", f"{open_ones[0]}{more}; run chmod go= on it", {"exposed": open_ones})
    which = "state, keys and partner key file" if app.settings.partner_key_file else "state and keys"
    return Finding(True, "files", f"{which}: only {user_name(os.geteuid())} can read or write them{readers}")


def _caller_finding(app: App) -> Finding:
    """Report whether the caller is another user than the server's, and which files they can reach."""
    uid = _uid_of_caller()
    if uid == os.geteuid():
        if app.settings.simulated:
            return Finding(True, "caller", f"same user as the server. {SIMULATOR_NOTE}")
        return Finding(True, "caller", f"NOT PROTECTED: programs of {user_name(uid)}, {_OWN_USER}", warning=True)
    policy = [app.settings.policy] if app.settings.policy else []
    try:
        reached = [
            path for path in _private_files(app) if has_access(uid, path, "read") or has_access(uid, path, "write")
        ]
        reached += [path for path in policy if has_access(uid, path, "write")]
    except OSError:
        return Finding(False, "caller", "the files can't be inspected")
    if reached:
        return Finding(False, "caller", f"{user_name(uid)} can reach {reached[0]}; remove that user's access")
    if app.settings.key_source == "environment":
        hint = "the partner key is in the environment, so the caller has it"
        return Finding(False, "caller", f"{hint}; put it in a file (MACHINES_PARTNER_KEY_FILE)")
    return Finding(True, "caller", f"{user_name(uid)}, through sudo, can reach neither key, state nor policy")


def _uid_of_caller() -> int:
    given = os.environ.get("SUDO_UID", "")
    return int(given) if given.isascii() and given.isdigit() else os.geteuid()


async def _unresolved(app: App) -> list[Finding]:
    unresolved = await unresolved_calls(app.guard)
    found = [
        Finding(
            call.state != "needs_person",
            "unresolved",
            f"{call.name}, since {moment(call.since)} UTC: {_MESSAGES[call.state].format(why=call.why)}",
            {"state": call.state, "approval_id": call.approval.id if call.approval else None},
        )
        for call in unresolved.calls
    ]
    if unresolved.others:
        found.append(Finding(True, "unresolved", others_unresolved(unresolved.others)))
    return found or [Finding(True, "unresolved", "no unresolved calls")]


async def _desk(app: App) -> Finding:
    """Report the desk. It must prove that it belongs to this folder: another program can take over its port."""
    found, taken = await app.desk.desk.find(), app.desk.desk.taken_port()
    if found is not None and taken is not None:
        return Finding(True, "desk", f"running at {found}. {port_taken(taken)}")
    if found is None:
        return Finding(True, "desk", "not running; it starts when a person is needed, or with machines-mcp desk")
    return Finding(True, "desk", f"running at {found}")
