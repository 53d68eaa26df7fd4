"""Test the doctor's findings about the safeguards: policy, passphrase, audit, files, caller and desk."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import pytest

from machines_mcp.cli.doctor.file_permissions import user_name
from machines_mcp.cli.doctor.finding import Finding
from machines_mcp.cli.doctor.state import check_safeguards
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.app import App, opened
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.storage.audit_log import AuditEntry, Checkpoint
from machines_mcp.storage.principal import ANY_USER
from tests.support.waiting import PATIENCE
from tests.support.wrong_tries import type_wrong

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(os.name != "posix", reason="who can read files is examined where there are modes"),
]

SOMEBODY = "65534"
POLICY = "version = 1\nenvironment = 'sandbox'\naudit.head_file = '{head}'\n[classes]\nread = 'allow'\n"


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder of this user that others can traverse, as home folders often are."""
    made = Path(tempfile.mkdtemp(prefix="machines-doctor-"))
    made.chmod(0o711)
    (made / "partner.key").write_text("key-of-the-tests", encoding="ascii")
    (made / "partner.key").chmod(0o600)
    yield made
    shutil.rmtree(made)


@pytest.fixture(autouse=True)
def without_sudo_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)


@asynccontextmanager
async def app(home: Path, **changed: str) -> AsyncIterator[App]:
    env = {
        "MACHINES_ENV": "sandbox",
        "MACHINES_USER_ID": "user-1",
        "MACHINES_PARTNER_KEY_FILE": str(home / "partner.key"),
        "MACHINES_API_URL": "http://127.0.0.1:9/partner/v1",
        "MACHINES_STATE_DIR": str(home / "state"),
    }
    async with opened(read_settings(env | changed)) as made:
        with anyio.fail_after(PATIENCE):
            yield made


EMBEDDED = {"MACHINES_ENV": "embedded", "MACHINES_PARTNER_KEY_FILE": "", "MACHINES_API_URL": ""}


async def found(made: App, what: str) -> Finding:
    await made.store.read(lambda db: None)
    (finding,) = [finding for finding in await check_safeguards(made) if finding.check == what]
    return finding


async def test_a_new_embedded_state_folder_passes(home: Path) -> None:
    async with app(home, **EMBEDDED) as made:
        await made.store.read(lambda db: None)
        findings = await check_safeguards(made)
    assert [finding.check for finding in findings] == [
        *("policy", "passphrase", "freeze", "clock", "audit", "files", "caller", "desk", "unresolved")
    ]
    assert [finding.message for finding in findings if not finding.ok] == []


async def test_the_active_policy_is_named_with_its_digest(home: Path) -> None:
    async with app(home) as made:
        assert (await found(made, "policy")).message == (
            f"no file, defaults for sandbox, digest {made.policy.digest[:12]}"
        )


async def test_a_missing_passphrase_is_reported(home: Path) -> None:
    async with app(home) as made:
        finding = await found(made, "passphrase")
        assert (finding.ok, finding.message) == (
            False,
            "No passphrase is set, so approvals are disabled. Run `machines-mcp passphrase`.",
        )
        await made.guard.passphrase.set(Secret("correct horse battery"))
        finding = await found(made, "passphrase")
        assert finding.ok
        assert finding.message.startswith("set 20")


async def test_many_wrong_passphrases_are_reported(home: Path) -> None:
    async with app(home) as made:
        await made.guard.passphrase.set(Secret("correct horse battery"))
        await type_wrong(made.guard, "sign-in", 5)
        findings = [finding for finding in await check_safeguards(made) if finding.check == "passphrase"]
    assert [finding.ok for finding in findings] == [True, False]
    assert findings[1].message.startswith("5 wrong passphrases were typed at the desk's sign-in since ")


async def test_a_read_only_server_needs_no_passphrase(home: Path) -> None:
    async with app(home, MACHINES_READ_ONLY="true") as made:
        assert (await found(made, "passphrase")).ok


async def test_a_corrupt_passphrase_file_fails(home: Path) -> None:
    async with app(home) as made:
        await made.guard.passphrase.set(Secret("correct horse battery"))
        (made.settings.state_dir / "keys" / "passphrase.json").write_text("{", encoding="ascii")
        assert not (await found(made, "passphrase")).ok


async def test_a_freeze_is_reported(home: Path) -> None:
    async with app(home) as made:
        assert (await found(made, "freeze")).ok
        await made.guard.freezes.freeze("desk", "user-1")
        finding = await found(made, "freeze")
        assert not finding.ok
        assert finding.message.startswith("Changes of user “user-1” are frozen since 20")
        assert "machines-mcp unfreeze" in finding.message


async def test_the_audit_check_verifies_and_leaves_no_row(home: Path) -> None:
    async with app(home) as made:
        await made.guard.audit.append(AuditEntry("call", tool="create_card"))
        finding = await found(made, "audit")
        assert finding.ok
        assert finding.message.startswith("the log is intact (1 row) and can be written")
        assert finding.message.endswith("goes unnoticed, see machines-mcp audit verify --write-head")
        assert len(await made.guard.audit.rows(ANY_USER)) == 1


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE audit SET tool = 'x' WHERE seq = 1", "row 1 was changed"),
        ("DELETE FROM audit WHERE seq = 1", "rows are missing, starting at row 1"),
    ],
)
async def test_a_tampered_audit_fails(home: Path, statement: str, says: str) -> None:
    async with app(home) as made:
        for _ in range(2):
            await made.guard.audit.append(AuditEntry("call", tool="create_card"))
        with closing(sqlite3.connect(made.settings.state_dir / "state.db")) as db, db:
            db.execute(statement)
        finding = await found(made, "audit")
    assert not finding.ok
    assert says in finding.message


async def test_the_policys_checkpoint_reveals_a_truncated_audit(home: Path) -> None:
    policy, head = home / "policy.toml", home / "head.json"
    policy.write_text(POLICY.format(head=head), encoding="utf-8")
    policy.chmod(0o600)
    async with app(home, MACHINES_POLICY=str(policy)) as made:
        assert (await found(made, "audit")).ok
        for _ in range(2):
            await made.guard.audit.append(AuditEntry("call", tool="create_card"))
        assert (await found(made, "audit")).ok
        await made.store.run(lambda db: db.execute("DELETE FROM audit WHERE seq = 2"))
        assert "the checkpoint names row 2" in (await found(made, "audit")).message
        Checkpoint.read(head)
        head.unlink()
        assert "no checkpoint at" in (await found(made, "audit")).message
        head.write_text("{}", encoding="ascii")
        assert "is invalid" in (await found(made, "audit")).message


async def test_an_unwritable_audit_fails(home: Path) -> None:
    async with app(home) as made:
        await made.store.read(lambda db: db.execute("PRAGMA query_only = ON"))
        finding = await found(made, "audit")
    assert not finding.ok
    assert "no row can be written" in finding.message


async def test_private_files_pass_and_exposed_files_are_named(home: Path) -> None:
    async with app(home) as made:
        finding = await found(made, "files")
        assert (finding.ok, finding.message) == (
            True,
            f"state, keys and partner key file: only {user_name(os.geteuid())} can read or write them",
        )
        (home / "partner.key").chmod(0o644)
        finding = await found(made, "files")
        assert not finding.ok
        assert finding.message == f"{home / 'partner.key'}: everybody can read it; run chmod go= on it"
        (home / "partner.key").chmod(0o600)
        os.chmod(home, 0o777)  # noqa: S103 - that is the fault
        finding = await found(made, "files")
        os.chmod(home, 0o711)  # noqa: S103
        assert not finding.ok
        assert f"{home / 'partner.key'}: everybody can write it" in finding.detail["exposed"]


async def test_programs_of_the_same_user_are_reported_as_unprotected(home: Path) -> None:
    async with app(home) as made:
        finding = await found(made, "caller")
        assert (finding.ok, finding.mark) == (True, "WARN")
        assert "warning" not in finding.as_json()
        assert finding.message.startswith(f"NOT PROTECTED: programs of {user_name(os.geteuid())}")
        assert "docs/production.md" in finding.message


async def test_a_sudo_caller_learns_which_files_they_can_reach(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", SOMEBODY)
    async with app(home) as made:
        finding = await found(made, "caller")
        assert finding.ok, finding.message
        assert "can reach neither key, state nor policy" in finding.message
        (home / "partner.key").chmod(0o644)
        finding = await found(made, "caller")
        assert not finding.ok
        assert f"can reach {home / 'partner.key'}" in finding.message


async def test_a_sudo_caller_who_passes_the_key_fails(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", SOMEBODY)
    async with app(home, MACHINES_PARTNER_KEY_FILE="", MACHINES_PARTNER_KEY="key-of-the-tests") as made:
        finding = await found(made, "caller")
    assert not finding.ok
    assert "in the environment" in finding.message


async def test_only_a_verified_desk_of_this_folder_counts_as_running(home: Path) -> None:
    async with app(home, **EMBEDDED) as made, app(home, **EMBEDDED) as other:
        assert "not running" in (await found(made, "desk")).message
        address = await other.desk_address()
        assert address is not None
        assert (await found(made, "desk")).message == f"running at {address}"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with app(home, **EMBEDDED) as made:
            notes = made.settings.state_dir / "desk.json"
            notes.write_text(f'{{"address": "x", "port": {port}, "pid": 1}}', encoding="ascii")
            assert "not running" in (await found(made, "desk")).message
