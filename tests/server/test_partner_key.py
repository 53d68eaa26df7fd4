"""The source of the partner key, in order: the environment, a file named there, or login."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from machines_mcp.redaction.environment import Environment
from machines_mcp.redaction.secret import Secret
from machines_mcp.server import keyring_store
from machines_mcp.server.keyring_store import key_file, store_key
from machines_mcp.server.settings import Settings, SettingsError
from machines_mcp.server.settings_reader import read_settings
from tests.support.keyrings import FakeKeyring, at_home

STORED, GIVEN = "mk-canary-0123456789", "mk-given-0123456789"
SANDBOX = {"MACHINES_ENV": "sandbox", "MACHINES_USER_ID": "user-1"}


@pytest.fixture(autouse=True)
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKeyring]:
    yield from at_home(tmp_path, monkeypatch)


def key_used(settings: Settings) -> tuple[str | None, str | None, Path | None]:
    key = settings.partner_key
    return (key.expose() if key else None, settings.key_source, settings.partner_key_file)


def tool_error(env: dict[str, str]) -> str:
    with pytest.raises(SettingsError) as refused:
        read_settings(env)
    assert STORED not in str(refused.value)
    return str(refused.value)


def test_a_stored_key_is_used_for_its_environment_only(keyring: FakeKeyring) -> None:
    store_key("sandbox", Secret(STORED))
    assert key_used(read_settings(SANDBOX)) == (STORED, "keyring", None)
    assert "run machines-mcp login production once" in tool_error(SANDBOX | {"MACHINES_ENV": "production"})


def test_a_stored_file_is_used_without_a_keyring(keyring: FakeKeyring) -> None:
    keyring.mood = "locked"
    store_key("production", Secret(STORED))
    keyring.asked = 0
    file = key_file("production")
    assert key_used(read_settings(SANDBOX | {"MACHINES_ENV": "production"})) == (STORED, "login file", file)
    assert keyring.asked == 0


@pytest.mark.parametrize("mood", ["well", "locked"])
def test_a_key_in_the_environment_takes_precedence_over_the_keyring(
    keyring: FakeKeyring, mood: str, tmp_path: Path
) -> None:
    keyring.mood = mood
    store_key("sandbox", Secret(STORED))
    keyring.asked = 0
    assert key_used(read_settings(SANDBOX | {"MACHINES_PARTNER_KEY": GIVEN})) == (GIVEN, "environment", None)
    file = tmp_path / "key"
    file.write_text(GIVEN, encoding="ascii")
    file.chmod(0o600)
    assert key_used(read_settings(SANDBOX | {"MACHINES_PARTNER_KEY_FILE": str(file)})) == (GIVEN, "file", file)
    assert keyring.asked == 0


@pytest.mark.parametrize("env", [{}, {"MACHINES_ENV": "embedded"}, {"MACHINES_ENV": ""}])
@pytest.mark.parametrize("mood", ["well", "locked"])
def test_a_stored_key_is_ignored_without_an_environment(keyring: FakeKeyring, mood: str, env: dict[str, str]) -> None:
    keyring.mood = mood
    store_key("sandbox", Secret(STORED))
    store_key("production", Secret(STORED))
    keyring.asked = 0
    settings = read_settings(env)
    assert settings.environment is Environment.EMBEDDED
    assert key_used(settings) == (None, None, None)
    assert keyring.asked == 0


def test_a_key_in_the_environment_still_needs_an_environment() -> None:
    store_key("sandbox", Secret(STORED))
    assert "set it to sandbox or production" in tool_error({"MACHINES_PARTNER_KEY": GIVEN})


@pytest.mark.parametrize(("mood", "says"), [("locked", "refused access"), ("silent", "did not respond in time")])
def test_a_failing_keyring_is_reported(
    keyring: FakeKeyring, monkeypatch: pytest.MonkeyPatch, mood: str, says: str
) -> None:
    monkeypatch.setattr(keyring_store, "TIMEOUT_SECONDS", 0.05)
    keyring.mood = mood
    sentence = tool_error(SANDBOX)
    assert "needs MACHINES_PARTNER_KEY or MACHINES_PARTNER_KEY_FILE" in sentence
    assert says in sentence


def test_a_stored_file_that_others_can_read_is_refused(keyring: FakeKeyring) -> None:
    keyring.mood = "forgetful"
    store_key("sandbox", Secret(STORED))
    key_file("sandbox").chmod(0o644)
    assert tool_error(SANDBOX) == f"{key_file('sandbox')} can be read by other users; run chmod 600 on it."


def test_a_malformed_stored_key_is_refused(keyring: FakeKeyring) -> None:
    keyring.held["machines-mcp", "sandbox"] = "no key"
    assert "8 to 512 printable" in tool_error(SANDBOX)
