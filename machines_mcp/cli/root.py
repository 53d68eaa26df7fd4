"""The group of all commands: what runs without one, and how each ends that does not end well."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

STOPPED = 130
"""The exit code after Ctrl-C, as shells have it."""


class Root(click.Group):
    """Says what is wrong in one sentence, with what to do; ends quietly when nobody reads on."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Without a command the server is served: that is what a client's config starts. A shell that completes wants
        # to know which commands there are.
        return super().parse_args(ctx, args if args or ctx.resilient_parsing else ["serve"])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BaseExceptionGroup as group:
            raise _one_of(group) from None

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
            click.echo("Stopped.", err=True)
            sys.exit(STOPPED)
        if standalone_mode:
            sys.exit(ended if isinstance(ended, int) else 0)
        return ended


def _one_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What a task group wrapped, where that is only that the reader has gone, or an end that was asked for."""
    left: BaseException = group
    while isinstance(left, BaseExceptionGroup) and len(left.exceptions) == 1:
        left = left.exceptions[0]
    return left if isinstance(left, (BrokenPipeError, KeyboardInterrupt, SystemExit)) else group


def _fail(fault: click.ClickException) -> NoReturn:
    """One line, whatever was typed: what stands in it may move no cursor."""
    words = " ".join(fault.format_message().split()).rstrip(".")
    sentence = "".join(character if character.isprintable() else "?" for character in words)
    context = fault.ctx if isinstance(fault, click.UsageError) else None
    click.echo(f"{sentence}; see {context.command_path} --help." if context else f"{sentence}.", err=True)
    sys.exit(fault.exit_code)
