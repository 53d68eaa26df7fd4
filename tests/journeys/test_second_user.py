"""An agent with a shell, under another user id than the server: it can read, change and approve nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import psutil
import pytest

from machines_mcp.permissions.factory import build_guard
from machines_mcp.permissions.policy import default_policy
from machines_mcp.redaction.secret import Secret
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.storage.database import Store
from machines_mcp.storage.migrations.stored_names import ARGUMENTS_KEY
from machines_mcp.storage.principal import ANY_USER
from tests.journeys.second_user import NOBODY_UID
from tests.support.running_sandbox import ROOT, Sandbox
from tests.support.stdio_client import ToolError, agent, applicant

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.check,
    pytest.mark.skipif(
        os.name != "posix" or os.geteuid() != 0, reason="only root can become another user; run the tests as root"
    ),
]

PASSPHRASE = "correct horse battery"
POLICY = """
version = 1
environment = "sandbox"
users = "any"
audit.head_file = "{head}"
[classes]
read = "allow"
write = "allow"
identity = "ask"
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """Return a folder that the other user can enter, so that only the server's own protection counts."""
    made = Path(tempfile.mkdtemp(prefix="machines-home-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


async def set_passphrase(store: Store) -> None:
    guard = build_guard(store, default_policy("sandbox", read_only=False), ANY_USER)
    await guard.passphrase.set(Secret(PASSPHRASE))


async def second_user(**wanted: Any) -> dict[str, Any]:
    """Run the other user's attempts and return their results."""
    given = {"files": [], "folders": [], "processes": [], "databases": [], "commands": [], "posts": []} | wanted
    done = await anyio.run_process(
        [sys.executable, "-m", "tests.journeys.second_user"], input=json.dumps(given).encode(), cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    found = dict(json.loads(done.stdout))
    assert found["uids"] == [NOBODY_UID] * 3
    return found


def attempts_for(folder: Path) -> dict[str, list[str]]:
    """Return an attempt for every file in a folder."""
    paths = [folder, *folder.rglob("*")]
    return {
        "files": [str(path) for path in paths if stat.S_ISREG(path.lstat().st_mode)],
        "folders": [str(path) for path in paths if path.is_dir()],
        "databases": [str(path) for path in paths if path.suffix == ".db"],
    }


def servers(state: Path) -> list[int]:
    """Return the server over this state folder, and the processes it started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        # Processes of other tests may end meanwhile; this test's server runs until its block ends.
        with suppress(psutil.NoSuchProcess):
            if process.environ().get("MACHINES_STATE_DIR") == str(state):
                found += [process.pid, *(child.pid for child in process.children(recursive=True))]
    return found


def operators_files(home: Path, partner_key: str) -> Path:
    """Return the operator's folder with the partner key and the policy."""
    folder = home / "operator"
    folder.mkdir(mode=0o700)
    for name, text in (("policy.toml", POLICY.format(head=folder / "head.json")), ("partner.key", partner_key)):
        (folder / name).write_text(text, encoding="ascii")
        (folder / name).chmod(0o600)
    return folder


async def test_another_user_reads_changes_and_approves_nothing(home: Path, sandbox: Sandbox) -> None:
    state, operator = home / "state", operators_files(home, sandbox.partner_key)
    settings = {
        "MACHINES_ENV": "sandbox",
        "MACHINES_API_URL": sandbox.base_url,
        "MACHINES_POLICY": str(operator / "policy.toml"),
        "MACHINES_PARTNER_KEY_FILE": str(operator / "partner.key"),
    }
    folder = read_settings(settings | {"MACHINES_STATE_DIR": str(state)}).state_dir
    store = Store(folder)
    await set_passphrase(store)
    await store.close()
    async with agent(state, "2026-07-28", dialog=False, **settings) as server:
        with pytest.raises(ToolError) as asked:
            await server.call("resolve_user", user_id="second-user", wallet_address="0x" + "ab" * 20)
        waiting, desk = str(asked.value.body["approval_id"]), str(asked.value.body["desk"])
        before = files_in(home)
        assert before > {
            "state.db",
            "state.db-wal",
            "audit.key",
            f"{ARGUMENTS_KEY}.key",
            "request-state.key",
            "desk.json",
        }
        assert before > {"passphrase.json", "policy.toml", "partner.key", "head.json"}
        # The other user may know the partner key and the passphrase, but has no access.
        known = settings | {"MACHINES_PARTNER_KEY": sandbox.partner_key, "MACHINES_STATE_DIR": str(state)}
        outside = {name: "" for name in ("MACHINES_PARTNER_KEY_FILE", "MACHINES_POLICY")}
        own = {"MACHINES_USER_ID": "second-user"}
        lines = [["approve", waiting], ["deny", waiting], ["approve"], ["audit", "show"], ["audit", "verify"]]
        port = int(urlsplit(desk).port or 0)
        guess = {"decision": "approve", "passphrase": "not the passphrase"}
        found = await second_user(
            **{what: attempts_for(state)[what] + attempts_for(operator)[what] for what in attempts_for(state)},
            processes=servers(state),
            commands=[{"arguments": line, "env": known | outside | own, "input": f"{PASSPHRASE}\n"} for line in lines],
            posts=[(port, path, guess) for path in (f"/decisions/{waiting}", "/sign-in", "/")],
        )
        assert servers(state)
        assert [name for name, came in found["attempts"].items() if came == "done"] == []
        assert set(found["attempts"].values()) <= {"PermissionError", "OperationalError"}
        refused = [2, "The state folder can't be used"]
        assert [[code, said[:30]] for code, said in found["commands"]] == [refused] * len(lines)
        assert found["posts"] == [404] * 3
        assert files_in(home) == before
        open_ones = (await server.call("status"))["waiting"]
        assert [approval["approval_id"] for approval in open_ones] == [waiting]


def files_in(home: Path) -> set[str]:
    """Return a folder's files by name, without temporary files that replace others."""
    return {path.name for path in home.rglob("*") if not re.search(r"\.[0-9a-f]{16}$", path.name)}


async def test_servers_own_user_can_do_what_the_other_could_not(home: Path) -> None:
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(home / "state")}
    async with agent(home / "state", "2026-07-28", dialog=False) as server:
        with pytest.raises(ToolError) as asked:
            await server.call("submit_kyc", {"user_id": "user-1"} | applicant())
        waiting = str(asked.value.body["approval_id"])
        found = await second_user(commands=[{"arguments": ["approve", waiting], "env": env}])
        assert found["commands"][0][0] == 2
        assert waiting in await command(env, "approve")
        assert "Approved" in await command(env, "approve", waiting)


async def command(env: dict[str, str], *arguments: str) -> str:
    """Return the output of a command run as the server's own user."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MACHINES_")}
    line = [sys.executable, "-m", "machines_mcp", *arguments]
    done = await anyio.run_process(line, input=f"{PASSPHRASE}\n".encode(), env=plain | env, cwd=ROOT, check=False)
    return done.stdout.decode()


async def test_readable_file_is_detected(home: Path) -> None:
    # Without this test, the one above could pass by mistake.
    folder = home / "state"
    store = Store(folder)
    await set_passphrase(store)
    await store.read(lambda db: None)
    for name in ("state.db", "keys/passphrase.json"):
        open_to_all(folder, folder / name)
        found = (await second_user(**attempts_for(folder)))["attempts"]
        assert found[f"read {folder / name}"] == "done"
        assert found[f"write {folder / name}"] == "PermissionError"
        (folder / name).chmod(0o666)
        assert (await second_user(**attempts_for(folder)))["attempts"][f"write {folder / name}"] == "done"
    await store.close()


async def test_accessible_folder_is_detected(home: Path) -> None:
    folder = home / "state"
    folder.mkdir()
    (folder / "policy.toml").write_text("", encoding="ascii")
    folder.chmod(0o777)
    found = (await second_user(**attempts_for(folder)))["attempts"]
    assert found[f"list {folder}"] == found[f"join {folder}"] == found[f"replace {folder / 'policy.toml'}"] == "done"


@pytest.mark.skipif(
    any(not path.stat().st_mode & stat.S_IXOTH for path in ROOT.parents), reason="others can't reach this checkout"
)
async def test_approval_in_an_accessible_state_folder_is_detected(home: Path) -> None:
    state = home / "state"
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(state)}
    async with agent(state, "2026-07-28", dialog=False) as server:
        with pytest.raises(ToolError) as asked:
            await server.call("submit_kyc", {"user_id": "user-1"} | applicant())
    waiting = str(asked.value.body["approval_id"])
    for path in [state, *state.rglob("*")]:
        os.chown(path, NOBODY_UID, NOBODY_UID)
    found = await second_user(commands=[{"arguments": ["approve", waiting], "env": env}])
    (code, said), *_ = found["commands"]
    assert "Approved" in said, said
    assert code == 0


def open_to_all(folder: Path, file: Path) -> None:
    file.chmod(0o644)
    for above in (folder, file.parent):
        above.chmod(0o755)
