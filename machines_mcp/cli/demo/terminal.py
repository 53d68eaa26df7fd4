"""Show the demo on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from machines_mcp.cli.client_configs.clients import CLIENTS
from machines_mcp.cli.client_configs.entry import command, config_block
from machines_mcp.cli.demo.scenes import Scene
from machines_mcp.cli.screen import emit

_CARD = "from a new user to a working card, in the 15 steps of the Partner API guide"
_WITHDRAWAL = "from a new user to a withdrawal on chain, with a wallet that signs and sends between the calls"
_INTRODUCTION = (
    "The journey as a model sees it: {}."
    " MCP over stdio, HTTP and cryptography are real; the Partner API is a simulator on this machine."
)

_TOOL_WIDTH = 22
# The column of the tool's name.
_INDENT = 8


class TerminalNarrator:
    """Prints a line per call, then what the model and the vault saw, then how to add the server to a client."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self._console = Console(highlight=False)
        self._shown = 0
        self._scenes = len(scenes)
        self._width = max(_TOOL_WIDTH, *(len(scene.tool) for scene in scenes))
        self._card: dict[str, Any] = {}
        to = _CARD if any(scene.tool == "reveal_card" for scene in scenes) else _WITHDRAWAL
        self._console.print(
            Panel(_INTRODUCTION.format(to), title="machines-mcp demo", border_style="cyan", padding=(1, 2))
        )

    def scene(self, scene: Scene, ok: bool, ms: int, result: dict[str, Any], summary: str) -> None:
        """Print a call and the summary of its result."""
        self._shown += 1
        steps = "–".join(dict.fromkeys(map(str, (scene.steps[0], scene.steps[-1])))) if scene.steps else "extra"
        mark = ("✓ ", "green") if ok else ("✗ ", "bold red")
        took = f"{ms / 1000:.1f} s" if ms >= 1000 else f"{ms} ms"
        head = Text.assemble(
            mark, (f"{steps:<6}", "dim"), (f"{scene.tool:<{self._width}}", "bold"), (f"{took:>7}  ", "dim")
        )
        head.append(scene.purpose)
        self._console.print(head, no_wrap=True, overflow="ellipsis", soft_wrap=False)
        self._console.print(Padding.indent(Text(summary, "cyan" if ok else "red"), _INDENT))
        if scene.tool == "reveal_card":
            self._card = result

    def _succeeded(self, seconds: float) -> str:
        return f"\n[bold green]All {self._shown} calls succeeded[/] in {seconds:.1f} s. Nothing was real."

    def end(self, ok: bool, seconds: float) -> None:
        """Print the summary, and how to add the server to a client."""
        self._console.print()
        if not ok:
            self._console.print(
                f"[bold red]Stopped at call {self._shown} of {self._scenes}.[/] Try: machines-mcp doctor"
            )
            return
        if not self._card:
            self._console.print(f"{self._succeeded(seconds).lstrip()} docs/withdrawal.md explains the steps.")
            return
        card = self._card
        number = f"•••• •••• •••• {card['last4']}"
        expiry = f"{card['expiration_month']:02}/{card['expiration_year']}"
        seen = Table(box=None, padding=(0, 3, 0, 0), title="Who saw which card data", title_justify="left")
        seen.add_column("the model")
        seen.add_column("the vault (a separate process, now ended)")
        seen.add_row(f"{card.get('brand', 'card')} {number}, {expiry}", "the number, decrypted and validated")
        seen.add_row("no number, no CVC", "the CVC, decrypted and validated")
        seen.add_row("no key, no token", "nothing stored, logged or returned")
        self._console.print(seen)
        self._console.print(f"{self._succeeded(seconds)}\n")
        self._console.print("[bold]Use it in Claude Desktop:[/] run this, then restart Claude Desktop.")
        # Without rich, which would wrap long paths.
        emit(f"\n{' '.join(command())} install claude-desktop\n")
        self._console.print(f"[dim]Other clients: {', '.join(list(CLIENTS)[1:])}.[/]")
        self._console.print("Or add this to claude_desktop_config.json yourself:\n")
        emit(config_block("claude-desktop", {}))
