"""A keyring in memory, as good or as bad as a test wants it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.errors import KeyringLocked

from tests.support.waiting import PATIENCE


class FakeKeyring:
    """Keeps what it is given; `mood` makes it refuse, keep nothing or never answer.

    Not one of keyring's own classes: it would find those by itself and take one for the system's.
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
    """Make it the system's keyring."""
    patch.setattr(keyring, "get_keyring", lambda: backend)


def at_home(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[FakeKeyring]:
    """A person's folders there and a keyring of theirs, for a fixture."""
    patch.setenv("HOME", str(folder))
    patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    backend = FakeKeyring()
    use(patch, backend)
    yield backend
    backend.never.set()
