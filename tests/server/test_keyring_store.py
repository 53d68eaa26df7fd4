"""Where login keeps a key: in the keyring if that proves to hold it, else in a file for its owner; never in both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from keyring.backends import fail, null

from machines_mcp.redaction.secret import Secret
from machines_mcp.server import keyring_store
from machines_mcp.server.keyring_store import KeyringSilent, file_of, forget, from_keyring, keep
from tests.support.keyrings import FakeKeyring, at_home, use

KEY, OTHER = Secret("mk-canary-0123456789"), Secret("mk-other-0123456789")


class PlainText(FakeKeyring):
    priority = 0.5


@pytest.fixture(autouse=True)
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKeyring]:
    monkeypatch.setattr(keyring_store, "SECONDS", 2.0)
    yield from at_home(tmp_path, monkeypatch)


def test_a_keyring_holds_one_key_for_each_environment() -> None:
    assert keep("sandbox", KEY) == "in the system's keyring"
    keep("production", OTHER)
    assert (from_keyring("sandbox"), from_keyring("production")) == (KEY, OTHER)
    assert not file_of("sandbox").exists()
    assert forget("sandbox")
    assert (from_keyring("sandbox"), from_keyring("production")) == (None, OTHER)
    assert not forget("sandbox")


@pytest.mark.parametrize("backend", [null.Keyring, fail.Keyring, PlainText])
def test_a_keyring_that_keeps_nothing_safely_is_none(
    monkeypatch: pytest.MonkeyPatch, backend: Callable[[], object]
) -> None:
    use(monkeypatch, backend())
    assert from_keyring("sandbox") is None
    assert str(file_of("sandbox")) in keep("sandbox", KEY)
    assert file_of("sandbox").read_text(encoding="ascii") == f"{KEY.expose()}\n"
    assert forget("sandbox")
    assert not file_of("sandbox").exists()
    assert not forget("sandbox")


@pytest.mark.parametrize("mood", ["locked", "forgetful", "silent"])
def test_where_the_keyring_does_not_take_it_a_file_does(
    keyring: FakeKeyring, monkeypatch: pytest.MonkeyPatch, mood: str
) -> None:
    monkeypatch.setattr(keyring_store, "SECONDS", 0.05)
    keyring.mood = mood
    keep("sandbox", KEY)
    assert file_of("sandbox").read_text(encoding="ascii") == f"{KEY.expose()}\n"


@pytest.mark.skipif(os.name != "posix", reason="file modes are a POSIX promise")
def test_the_file_is_its_owners_alone_in_a_folder_of_their_own(keyring: FakeKeyring) -> None:
    keyring.mood = "forgetful"
    keep("sandbox", KEY)
    file_of("sandbox").chmod(0o644)
    keep("sandbox", OTHER)
    assert file_of("sandbox").stat().st_mode & 0o777 == 0o600
    assert file_of("sandbox").parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in file_of("sandbox").parent.iterdir()] == ["sandbox.key"]


def test_a_key_that_goes_into_the_keyring_leaves_no_file_behind(keyring: FakeKeyring) -> None:
    keyring.mood = "forgetful"
    keep("sandbox", KEY)
    keyring.mood = "well"
    keep("sandbox", OTHER)
    assert not file_of("sandbox").exists()


@pytest.mark.parametrize("mood", ["locked", "clinging", "silent"])
def test_a_key_that_may_still_be_there_is_not_said_to_be_gone(
    keyring: FakeKeyring, monkeypatch: pytest.MonkeyPatch, mood: str
) -> None:
    keep("sandbox", KEY)
    monkeypatch.setattr(keyring_store, "SECONDS", 0.05)
    keyring.mood = mood
    with pytest.raises(KeyringSilent) as refused:
        forget("sandbox")
    assert KEY.expose() not in str(refused.value)
