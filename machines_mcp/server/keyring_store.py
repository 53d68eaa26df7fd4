"""The partner key that `machines-mcp login` stored: in the system's keyring, else in a file for its owner alone.

Whatever asks a keyring is bounded, and never on a loop: it can wait for a person who unlocks it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from machines_mcp.redaction.secret import Secret

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

T = TypeVar("T")

SERVICE = "machines-mcp"
SECONDS = 10.0
# What keyring itself calls recommended: below it are those that hold nothing, and those that write plain text.
_RECOMMENDED = 1


class KeyringSilent(Exception):
    """There is a keyring, and it did not answer or refused; the message is a clause."""


def file_of(environment: str) -> Path:
    """Where the key of an environment is kept when there is no keyring."""
    import platformdirs

    return platformdirs.user_config_path(SERVICE, appauthor=False) / "keys" / f"{environment}.key"


def from_keyring(environment: str) -> Secret | None:
    """The key that the keyring holds for an environment, in at most ten seconds.

    Raises:
        KeyringSilent: It did not say.
    """
    try:
        backend = _bounded(_backend)
        if backend is None:
            return None
        found = _bounded(lambda: backend.get_password(SERVICE, environment))
    except KeyringSilent:
        raise
    except Exception:  # each backend has failures of its own
        raise KeyringSilent("the keyring refused to answer") from None
    return Secret(found) if found else None


def keep(environment: str, key: Secret) -> str:
    """Store the key in place of any before it; where it is now, in a few words.

    Raises:
        OSError: Not even the file could be written.
    """
    if _kept_by_keyring(environment, key):
        file_of(environment).unlink(missing_ok=True)
        return "in the system's keyring"
    from machines_mcp.cli.client_configs.config_file import write_in_one_step

    path = file_of(environment)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_in_one_step(path, key.expose().encode() + b"\n", 0o600)
    return f"in {path}, which only you can read"


def forget(environment: str) -> bool:
    """Remove the key; whether there was one.

    Raises:
        KeyringSilent: The keyring may still hold one.
        OSError: The file is still there.
    """
    path = file_of(environment)
    was_in_file = path.is_file()
    path.unlink(missing_ok=True)
    if from_keyring(environment) is None:
        return was_in_file
    backend = _bounded(_backend)
    with contextlib.suppress(Exception):
        if backend is not None:
            _bounded(lambda: backend.delete_password(SERVICE, environment))
    if from_keyring(environment) is not None:
        raise KeyringSilent("the keyring kept it")
    return True


def _kept_by_keyring(environment: str, key: Secret) -> bool:
    """Whether it is there to be read again: some take a password and keep nothing."""
    try:
        backend = _bounded(_backend)
        if backend is None:
            return False
        _bounded(lambda: backend.set_password(SERVICE, environment, key.expose()))
        return from_keyring(environment) == key
    except Exception:  # each backend has failures of its own; the file is there for all of them
        return False


def _backend() -> KeyringBackend | None:
    import keyring

    backend = keyring.get_keyring()
    return backend if backend.priority >= _RECOMMENDED else None


def _bounded(work: Callable[[], T]) -> T:
    outcome: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put((work(), None))
        except BaseException as error:  # it is raised where it is waited for
            outcome.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        value, error = outcome.get(timeout=SECONDS)
    except queue.Empty:
        raise KeyringSilent("the keyring did not answer in time") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]  # of T where nothing was raised
