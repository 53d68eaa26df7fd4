"""The root command group: its default command and error handling."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from machines_mcp.cli.screen import say
from machines_mcp.redaction.characters import printable

INTERRUPTED_EXIT_CODE = 130
"""The exit code after Ctrl-C, as in shells."""


class Root(click.Group):
    """Prints each error as one sentence with the fix. Exits quietly if the reader of the output is gone."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # The default command is serve, because client configs start the server without one. Shell completion needs
        # the list of commands instead.
        return super().parse_args(ctx, args if args or ctx.resilient_parsing else ["serve"])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BaseExceptionGroup as group:
            raise _exit_cause(group) from None

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        try:
            ended = super().main(args, prog_name, complete_var, False, **extra)
        except click.exceptions.NoArgsIsHelpError as asked:
            asked.show()
            sys.exit(asked.exit_code)
        except click.ClickException as fault:
            _fail(fault)
        except click.Abort:
            say("Stopped.", err=True)
            sys.exit(INTERRUPTED_EXIT_CODE)
        if standalone_mode:
            sys.exit(ended if isinstance(ended, int) else 0)
        return ended


def _exit_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the exception in the group if it is a closed pipe or a requested exit, else the group."""
    left: BaseException = group
    while isinstance(left, BaseExceptionGroup) and len(left.exceptions) == 1:
        left = left.exceptions[0]
    return left if isinstance(left, (BrokenPipeError, KeyboardInterrupt, SystemExit)) else group


def _fail(fault: click.ClickException) -> NoReturn:
    """Print the error on one line, without control characters, and exit."""
    words = " ".join(fault.format_message().split()).rstrip(".")
    sentence = printable(words)
    context = fault.ctx if isinstance(fault, click.UsageError) else None
    if context is not None:
        see = "? See" if sentence.endswith("?") else "; see"
        sentence = f"{sentence.rstrip('?')}{see} {context.command_path} --help"
    say(f"{sentence}.", err=True)
    sys.exit(fault.exit_code)
