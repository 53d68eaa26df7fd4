"""Every file that the project creates, and every folder above it, has its mode under any umask."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from machines_mcp.cli.client_configs import config_file
from machines_mcp.partner.trace import open_trace
from machines_mcp.redaction.secret import Secret
from machines_mcp.sandbox.state import State
from machines_mcp.server import keyring_store
from machines_mcp.server.browser import _claim_opening, _write_redirect
from machines_mcp.storage.audit_checkpoint import Checkpoint
from machines_mcp.storage.files import create_atomically, make_folder, open_or_make, write_atomically
from machines_mcp.vault.keypair import make_key_pair
from tests.support.modes import UMASKS, mode, umask

ROOT = Path(__file__).parents[2]
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX modes")


def client_config(path: Path) -> None:
    config_file.read(path).replace("{}")
    # With a backup beside it.
    config_file.read(path).replace('{"a": 1}')


def sandbox_database(path: Path) -> None:
    State.open(path).db.close()


CREATORS: dict[str, Callable[[Path], object]] = {
    "a client's config": client_config,
    "a key": lambda path: create_atomically(path, b"key"),
    "a file that is replaced": lambda path: write_atomically(path, b"x"),
    "a file that is locked": lambda path: os.close(open_or_make(path, os.O_RDWR)),
    "a trace": lambda path: os.close(open_trace(str(path))),
    "the simulator's database": sandbox_database,
    "a checkpoint of the audit log": lambda path: Checkpoint(1, "00", 1.0).write(path),
    "a page that redirects": lambda path: _write_redirect(path.parent, "http://127.0.0.1/"),
    "the note of the last tab": _claim_opening,
}


@posix_only
@pytest.mark.parametrize("value", UMASKS, ids=oct)
@pytest.mark.parametrize("create", CREATORS.values(), ids=CREATORS)
def test_created_files_are_private_under_any_umask(
    tmp_path: Path, create: Callable[[Path], object], value: int
) -> None:
    folder = tmp_path / "folder"
    with umask(value):
        make_folder(folder, 0o700)
        create(folder / "file")
    made = list(folder.iterdir())
    assert made
    assert {path.name: mode(path) for path in made} == {path.name: 0o600 for path in made}


@posix_only
@pytest.mark.parametrize("value", UMASKS, ids=oct)
def test_parents_of_a_clients_config_are_never_writable_by_others(tmp_path: Path, value: int) -> None:
    path = tmp_path / "home" / ".config" / "client" / "config.json"
    with umask(value):
        client_config(path)
    for parent in (path.parent, *path.parents[1:3]):
        assert mode(parent) == 0o755 & ~value | 0o700
    assert {mode(file) for file in path.parent.iterdir()} == {0o600}


@posix_only
@pytest.mark.parametrize("value", UMASKS, ids=oct)
def test_key_pair_has_its_modes_under_any_umask(tmp_path: Path, value: int) -> None:
    with umask(value):
        make_key_pair(tmp_path / "key")
    assert (mode(tmp_path / "key"), mode(tmp_path / "key.pub")) == (0o600, 0o644)


@posix_only
@pytest.mark.parametrize("value", UMASKS, ids=oct)
def test_stored_partner_key_and_its_folders_are_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: int
) -> None:
    file = tmp_path / "a" / "b" / "sandbox.key"
    monkeypatch.setattr(keyring_store, "key_file", lambda environment: file)
    monkeypatch.setattr(keyring_store, "_store_in_keyring", lambda *_: False)
    with umask(value):
        keyring_store.store_key("sandbox", Secret("k"))
    assert [mode(path) for path in (file, file.parent, file.parent.parent)] == [0o600, 0o700, 0o700]


ALLOWED = {
    # They make each file exclusively and set its mode.
    "storage/files.py": {"open", "mkdir"},
    "vault/keypair.py": {"open"},
    "partner/trace.py": {"open"},
    "sandbox/state.py": {"open"},
}


def test_only_these_modules_create_files() -> None:
    """A module that creates a file another way would give it the mode that the umask leaves."""
    package = ROOT / "machines_mcp"
    found: dict[str, set[str]] = {}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = creating(node)
            if name is not None:
                found.setdefault(path.relative_to(package).as_posix(), set()).add(name)
    assert found == ALLOWED


def creating(node: ast.AST) -> str | None:
    """Return the name of a call that can create a file or folder, or None."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
        return None
    name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
    text = ast.unparse(node)
    if name == "open" and "O_CREAT" in text:
        return name
    if name == "open" and any(isinstance(one, ast.Constant) and one.value in WRITING for one in node.args):
        return name
    return name if name in ("mkdir", "makedirs", "write_text", "write_bytes", "mkstemp", "mkdtemp") else None


WRITING = ("w", "wb", "a", "ab", "x", "xb", "w+", "r+", "wb+")
