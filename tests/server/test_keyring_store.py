"""Storage of the login key: in the keyring if that works, otherwise in a private file, never in both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from keyring.backends import fail, null

from machines_mcp.redaction.secret import Secret
from machines_mcp.server import keyring_store
from machines_mcp.server.keyring_store import KeyringUnavailable, key_file, read_keyring, remove_key, store_key
from tests.support.keyrings import FakeKeyring, at_home, use

KEY, OTHER = Secret("mk-canary-0123456789"), Secret("mk-other-0123456789")


class PlainText(FakeKeyring):
    priority = 0.5


@pytest.fixture(autouse=True)
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKeyring]:
    monkeypatch.setattr(keyring_store, "TIMEOUT_SECONDS", 2.0)
    yield from at_home(tmp_path, monkeypatch)


def test_a_keyring_holds_one_key_per_environment() -> None:
    assert store_key("sandbox", KEY) == "in the system's keyring"
    store_key("production", OTHER)
    assert (read_keyring("sandbox"), read_keyring("production")) == (KEY, OTHER)
    assert not key_file("sandbox").exists()
    assert remove_key("sandbox")
    assert (read_keyring("sandbox"), read_keyring("production")) == (None, OTHER)
    assert not remove_key("sandbox")


@pytest.mark.parametrize("backend", [null.Keyring, fail.Keyring, PlainText])
def test_an_unsafe_keyring_backend_is_not_used(monkeypatch: pytest.MonkeyPatch, backend: Callable[[], object]) -> None:
    use(monkeypatch, backend())
    assert read_keyring("sandbox") is None
    assert str(key_file("sandbox")) in store_key("sandbox", KEY)
    assert key_file("sandbox").read_text(encoding="ascii") == f"{KEY.expose()}\n"
    assert remove_key("sandbox")
    assert not key_file("sandbox").exists()
    assert not remove_key("sandbox")


@pytest.mark.parametrize("mood", ["locked", "forgetful", "silent"])
def test_a_file_holds_the_key_if_the_keyring_does_not(
    keyring: FakeKeyring, monkeypatch: pytest.MonkeyPatch, mood: str
) -> None:
    monkeypatch.setattr(keyring_store, "TIMEOUT_SECONDS", 0.05)
    keyring.mood = mood
    store_key("sandbox", KEY)
    assert key_file("sandbox").read_text(encoding="ascii") == f"{KEY.expose()}\n"


@pytest.mark.skipif(os.name != "posix", reason="file modes are a POSIX promise")
def test_the_file_and_its_folder_are_private_to_their_owner(keyring: FakeKeyring) -> None:
    keyring.mood = "forgetful"
    store_key("sandbox", KEY)
    key_file("sandbox").chmod(0o644)
    store_key("sandbox", OTHER)
    assert key_file("sandbox").stat().st_mode & 0o777 == 0o600
    assert key_file("sandbox").parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in key_file("sandbox").parent.iterdir()] == ["sandbox.key"]


def test_storing_a_key_in_the_keyring_removes_the_file(keyring: FakeKeyring) -> None:
    keyring.mood = "forgetful"
    store_key("sandbox", KEY)
    keyring.mood = "well"
    store_key("sandbox", OTHER)
    assert not key_file("sandbox").exists()


@pytest.mark.parametrize("mood", ["locked", "clinging", "silent"])
def test_removal_reports_failure_if_the_key_may_remain(
    keyring: FakeKeyring, monkeypatch: pytest.MonkeyPatch, mood: str
) -> None:
    store_key("sandbox", KEY)
    monkeypatch.setattr(keyring_store, "TIMEOUT_SECONDS", 0.05)
    keyring.mood = mood
    with pytest.raises(KeyringUnavailable) as refused:
        remove_key("sandbox")
    assert KEY.expose() not in str(refused.value)
