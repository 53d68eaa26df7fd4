"""An in-memory keyring with configurable failures."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.errors import KeyringLocked

from tests.support.waiting import PATIENCE


class FakeKeyring:
    """Stores passwords. `mood` makes it refuse, discard passwords or never respond.

    It does not subclass a keyring backend, because keyring would then discover it and use it as the system's.
    """

    priority = 5.0

    def __init__(self, mood: str = "well") -> None:
        self.held: dict[tuple[str, str], str] = {}
        self.mood = mood
        self.asked = 0
        self.never = threading.Event()

    def get_password(self, service: str, username: str) -> str | None:
        self._answer()
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._answer()
        if self.mood != "forgetful":
            self.held[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        self._answer()
        if self.mood != "clinging":
            del self.held[service, username]

    def _answer(self) -> None:
        self.asked += 1
        if self.mood == "locked":
            raise KeyringLocked("a text with mk-canary-0123456789 in it")
        if self.mood == "silent":
            self.never.wait(PATIENCE)


def use(patch: pytest.MonkeyPatch, backend: object) -> None:
    """Install this as the system's keyring."""
    patch.setattr(keyring, "get_keyring", lambda: backend)


def at_home(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[FakeKeyring]:
    """Redirect the person's folders and keyring, for a fixture."""
    patch.setenv("HOME", str(folder))
    patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    backend = FakeKeyring()
    use(patch, backend)
    yield backend
    backend.never.set()
