"""Shared by the commands: reading settings, reporting errors, and running async code."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import click

from machines_mcp.cli.screen import say
from machines_mcp.redaction.user_id import user_id_fault
from machines_mcp.server.settings import Settings, SettingsError
from machines_mcp.server.settings_reader import read_settings

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_UNUSABLE = "The state folder can't be used; check its owner, mode (0700) and free space, or run machines-mcp doctor."


def load_settings() -> Settings:
    """Return the settings from the environment. If they are invalid, the command fails."""
    from machines_mcp.server.log_config import configure

    try:
        settings = read_settings()
    except SettingsError as error:
        fail(str(error))
    configure(settings.log_level)
    return settings


def user_option(purpose: str, *, checked: bool = True) -> Callable[[F], F]:
    """Return the option `--user` of a command. If `checked`, it fails for what no server accepts as a user's id."""

    def check(context: click.Context, parameter: click.Parameter, given: str | None) -> str | None:
        if given is not None and (fault := user_id_fault(given)):
            fail(f"--user {fault}.")
        return given

    return click.option("--user", "user_id", metavar="ID", callback=check if checked else None, help=purpose)


def end(ok: bool, sentence: str) -> NoReturn:
    """Print the result and exit with code 0 or 1."""
    say(sentence, err=not ok)
    sys.exit(0 if ok else 1)


def fail(sentence: str) -> NoReturn:
    """Print the problem and its fix, and exit with code 2."""
    say(sentence, err=True)
    sys.exit(2)


def run(main_function: Callable[[], Awaitable[T]]) -> T:
    """Run the function on a new event loop and return its result."""
    import anyio

    with usable_state():
        return anyio.run(main_function)


@contextmanager
def usable_state() -> Iterator[None]:
    """Make the command fail if the policy or the state folder can't be used."""
    from machines_mcp.permissions.policy import PolicyError
    from machines_mcp.storage.database import StoreUnavailable

    try:
        yield
    except PolicyError as error:
        fail(str(error))
    except StoreUnavailable as error:
        fail(str(error) or _UNUSABLE)
