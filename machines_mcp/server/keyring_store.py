"""Store the partner key for `machines-mcp login`: in the system's keyring, else in a file only its owner can read.

Every keyring call has a timeout and must not run on an event loop, because it can wait for a person to unlock it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from machines_mcp.redaction.secret import Secret
from machines_mcp.storage.files import make_folder, write_atomically

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

T = TypeVar("T")

SERVICE = "machines-mcp"
TIMEOUT_SECONDS = 10.0
# The lowest priority that `keyring` recommends. Backends below it store nothing, or store plain text.
_MIN_PRIORITY = 1


class KeyringUnavailable(Exception):
    """The keyring did not respond, or it refused. The message is a clause."""


def key_file(environment: str) -> Path:
    """Return the file for an environment's key, used without a keyring."""
    import platformdirs

    return platformdirs.user_config_path(SERVICE, appauthor=False) / "keys" / f"{environment}.key"


def read_keyring(environment: str) -> Secret | None:
    """Return the key that the keyring holds for an environment, or None, within ten seconds per keyring call.

    Raises:
        KeyringUnavailable: The keyring did not respond or refused.
    """
    try:
        backend = _with_timeout(_backend)
        if backend is None:
            return None
        found = _with_timeout(lambda: backend.get_password(SERVICE, environment))
    except KeyringUnavailable:
        raise
    except Exception:  # each backend raises its own exceptions
        raise KeyringUnavailable("the keyring refused access") from None
    return Secret(found) if found else None


def store_key(environment: str, key: Secret) -> str:
    """Store the key, replacing any earlier one, and return a phrase that says where it is.

    Raises:
        OSError: Neither the keyring nor the file could be written.
    """
    if _store_in_keyring(environment, key):
        key_file(environment).unlink(missing_ok=True)
        return "in the system's keyring"
    path = key_file(environment)
    make_folder(path.parent, 0o700)
    write_atomically(path, key.expose().encode() + b"\n")
    return f"in {path}, which only you can read"


def remove_key(environment: str) -> bool:
    """Remove the key, and return whether there was one.

    Raises:
        KeyringUnavailable: The keyring may still hold one.
        OSError: The file could not be removed.
    """
    path = key_file(environment)
    was_in_file = path.is_file()
    path.unlink(missing_ok=True)
    if read_keyring(environment) is None:
        return was_in_file
    backend = _with_timeout(_backend)
    with contextlib.suppress(Exception):
        if backend is not None:
            _with_timeout(lambda: backend.delete_password(SERVICE, environment))
    if read_keyring(environment) is not None:
        raise KeyringUnavailable("the keyring did not delete it")
    return True


def _store_in_keyring(environment: str, key: Secret) -> bool:
    """Store the key in the keyring and read it back, because some backends accept a password and store nothing."""
    try:
        backend = _with_timeout(_backend)
        if backend is None:
            return False
        _with_timeout(lambda: backend.set_password(SERVICE, environment, key.expose()))
        return read_keyring(environment) == key
    except Exception:  # each backend raises its own exceptions; the file is the fallback
        return False


def _backend() -> KeyringBackend | None:
    import keyring

    backend = keyring.get_keyring()
    return backend if backend.priority >= _MIN_PRIORITY else None


def _with_timeout(work: Callable[[], T]) -> T:
    outcome: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put((work(), None))
        except BaseException as error:  # re-raised in the waiting thread
            outcome.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        value, error = outcome.get(timeout=TIMEOUT_SECONDS)
    except queue.Empty:
        raise KeyringUnavailable("the keyring did not respond in time") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]  # a T if nothing was raised
