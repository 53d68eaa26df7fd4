"""An agent with a shell, under another user id than the server: it reads nothing, changes nothing, approves nothing."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from machines_mcp.guard.policy import default_policy
from machines_mcp.guard.store import Store
from machines_mcp.guard.wiring import wire_guard
from machines_mcp.secret import Secret
from tests.journeys.second_user import NOBODY
from tests.journeys.stdio import ToolError, agent, applicant
from tests.sandbox.running import ROOT

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        os.name != "posix" or os.geteuid() != 0, reason="only root can become another user; run the tests as root"
    ),
]

PASSPHRASE = "correct horse battery"


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that the other user can pass through: what protects must be the server's own doing."""
    made = Path(tempfile.mkdtemp(prefix="machines-home-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


async def set_passphrase(store: Store) -> None:
    guard = wire_guard(store, default_policy("sandbox", read_only=False))
    await guard.passphrase.set(Secret(PASSPHRASE))


async def second_user(**wanted: Any) -> dict[str, Any]:
    """What the other user gets done."""
    given = {"files": [], "folders": [], "processes": [], "databases": [], "commands": []} | wanted
    done = await anyio.run_process(
        [sys.executable, "-m", "tests.journeys.second_user"], input=json.dumps(given).encode(), cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    found = dict(json.loads(done.stdout))
    assert found["uids"] == [NOBODY] * 3
    return found


def all_of(folder: Path) -> dict[str, list[str]]:
    """Everything that lies in a folder, as what to try."""
    paths = [folder, *folder.rglob("*")]
    return {
        "files": [str(path) for path in paths if stat.S_ISREG(path.lstat().st_mode)],
        "folders": [str(path) for path in paths if path.is_dir()],
        "databases": [str(path) for path in paths if path.suffix == ".db"],
    }


def servers(state: Path) -> list[int]:
    """The server over this state folder, and what it started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        if process.environ().get("MACHINES_STATE_DIR") == str(state):
            found += [process.pid, *(child.pid for child in process.children(recursive=True))]
    return found


async def test_another_user_reads_changes_and_approves_nothing(home: Path) -> None:
    state, operator = home / "state", home / "operator"
    operator.mkdir(mode=0o700)
    for name in ("policy.toml", "partner.key"):
        (operator / name).write_text("# of the operator\n", encoding="ascii")
        (operator / name).chmod(0o600)
    embedded = state / "embedded"
    store = Store(embedded)
    await set_passphrase(store)
    await store.close()
    async with agent(state, "2026-07-28", dialog=False) as server:
        await server.call("create_session", user_id="user-1", purpose="kyc")
        with pytest.raises(ToolError) as asked:
            await server.call("submit_kyc", {"user_id": "user-1"} | applicant())
        waiting = str(asked.value.body["approval_id"])
        lying = [path.name for path in embedded.rglob("*")]
        assert {"state.db", "state.db-wal", "audit.key", "intents.key", "request-state.key"} <= set(lying)
        assert "passphrase.json" in lying
        env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(state)}
        lines = [["approve", waiting], ["deny", waiting], ["approve"], ["audit", "show"], ["audit", "verify"]]
        found = await second_user(
            **{what: all_of(state)[what] + all_of(operator)[what] for what in all_of(state)},
            processes=servers(state),
            commands=[{"arguments": line, "env": env, "input": PASSPHRASE + "\n"} for line in lines],
        )
        assert len(servers(state)) >= 2  # itself and the simulator
        assert [name for name, came in found["attempts"].items() if came == "done"] == []
        assert set(found["attempts"].values()) <= {"PermissionError", "OperationalError"}
        refused = [2, "The state folder can't be used"]
        assert [[code, said[:30]] for code, said in found["commands"]] == [refused] * len(lines)
        assert waiting in await command(env, "approve")
        assert sorted(path.name for path in embedded.rglob("*")) == sorted(lying)
        # The same command by the server's own user does it: what stopped the other was who they are.
        assert "Approved" in await command(env, "approve", waiting)


async def command(env: dict[str, str], *arguments: str) -> str:
    """What a command of the server's own user says."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MACHINES_")}
    line = [sys.executable, "-m", "machines_mcp", *arguments]
    done = await anyio.run_process(line, input=f"{PASSPHRASE}\n".encode(), env=plain | env, cwd=ROOT, check=False)
    return done.stdout.decode()


async def test_one_file_that_is_left_open_is_seen(home: Path) -> None:
    # Without this the test above could be blind.
    folder = home / "state"
    store = Store(folder)
    await set_passphrase(store)
    await store.read(lambda db: None)
    for name in ("state.db", "keys/passphrase.json"):
        open_to_all(folder, folder / name)
        found = (await second_user(**all_of(folder)))["attempts"]
        assert found[f"read {folder / name}"] == "done"
        assert found[f"write {folder / name}"] == "PermissionError"
        (folder / name).chmod(0o666)
        assert (await second_user(**all_of(folder)))["attempts"][f"write {folder / name}"] == "done"
    await store.close()


async def test_a_folder_that_is_left_open_is_seen(home: Path) -> None:
    folder = home / "state"
    folder.mkdir()
    (folder / "policy.toml").write_text("", encoding="ascii")
    folder.chmod(0o777)
    found = (await second_user(**all_of(folder)))["attempts"]
    assert found[f"list {folder}"] == found[f"join {folder}"] == found[f"replace {folder / 'policy.toml'}"] == "done"


@pytest.mark.skipif(
    any(not path.stat().st_mode & stat.S_IXOTH for path in ROOT.parents), reason="others can't reach this checkout"
)
async def test_an_approval_in_a_state_folder_that_is_left_open_is_seen(home: Path) -> None:
    state = home / "state"
    env = {"MACHINES_ENV": "embedded", "MACHINES_STATE_DIR": str(state)}
    async with agent(state, "2026-07-28", dialog=False) as server:
        with pytest.raises(ToolError) as asked:
            await server.call("submit_kyc", {"user_id": "user-1"} | applicant())
    waiting = str(asked.value.body["approval_id"])
    for path in [state, *state.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    found = await second_user(commands=[{"arguments": ["approve", waiting], "env": env}])
    (code, said), *_ = found["commands"]
    assert "Approved" in said, said
    assert code == 0


def open_to_all(folder: Path, file: Path) -> None:
    file.chmod(0o644)
    for above in (folder, file.parent):
        above.chmod(0o755)
