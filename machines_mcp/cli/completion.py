"""Shell completion: the script that enables it, and the current values to complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from machines_mcp.cli.screen import emit

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PROGRAM = "machines-mcp"
_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", metavar="SHELL", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print a completion script for SHELL. It completes commands, tools and ids of waiting calls.

    bash: eval "$(machines-mcp completion bash)" in ~/.bashrc; zsh: the same with zsh in ~/.zshrc; fish:
    machines-mcp completion fish > ~/.config/fish/completions/machines-mcp.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"This version of click does not support {shell}.")
    context = click.get_current_context().find_root()
    emit(kind(context.command, {}, PROGRAM, "_MACHINES_MCP_COMPLETE").source())


def tool_names(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return all tools with their titles, including those that the policy denies."""
    from click.shell_completion import CompletionItem

    from machines_mcp.tools.catalog import TOOLS

    return [CompletionItem(tool.name, help=tool.title) for tool in TOOLS if tool.name.startswith(begun)]


def waiting_ids(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return the waiting approvals with their tool and user; none if they can't be read."""
    from click.shell_completion import CompletionItem

    from machines_mcp.server.log_config import configure

    # This runs between keystrokes, so it must not print anything or create any file.
    configure("CRITICAL")
    try:
        found = _waiting()
    except Exception:
        return []
    return [CompletionItem(id, help=what) for id, what in found if id.startswith(begun)]


def _waiting() -> list[tuple[str, str]]:
    import anyio

    from machines_mcp.cli.approvals import waiting_approvals
    from machines_mcp.server.settings_reader import read_settings

    settings = read_settings()
    if not (settings.state_dir / "state.db").exists():
        return []
    found, _ = anyio.run(waiting_approvals, settings)
    return [(approval.id, f"{approval.tool} for {approval.user_id}") for approval in found]
