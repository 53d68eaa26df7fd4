"""Load the prompts: Markdown files with TOML front matter (`+++`), in the package or `prompts/` of a checkout."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import mcp_types as types

from machines_mcp.redaction.characters import text_fault
from machines_mcp.redaction.placeholders import placeholder_fault, word_fault
from machines_mcp.redaction.user_id import user_id_fault

MAX_VALUE = 200


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt, as read from its file. `{name}` in the text is the placeholder of an argument."""

    name: str
    title: str
    description: str
    arguments: tuple[types.PromptArgument, ...]
    text: str
    needs: tuple[str, ...] = ()
    """The tools that the prompt uses."""

    def fits(self, usable: Collection[str]) -> bool:
        """Whether a server with these tools can follow the prompt."""
        return all(name in usable for name in self.needs)

    def shown(self) -> types.Prompt:
        """Return the prompt for `prompts/list`."""
        return types.Prompt(
            name=self.name, title=self.title, description=self.description, arguments=list(self.arguments)
        )

    def filled(self, given: Mapping[str, str]) -> types.GetPromptResult:
        """Return the prompt for `prompts/get`."""
        content = types.TextContent(type="text", text=self.render(given))
        message = types.PromptMessage(role="user", content=content)
        return types.GetPromptResult(description=self.description, messages=[message])

    def render(self, given: Mapping[str, str]) -> str:
        """Return the text with the arguments filled in. Missing and invalid ones become "(ask for the ...)"."""
        known = {argument.name for argument in self.arguments}

        def fill(place: re.Match[str]) -> str:
            name = place[1]
            return _filled(name, given.get(name, "").strip()) if name in known else place[0]

        # In one pass, so that a placeholder inside a value is not filled in.
        return re.sub(r"\{(\w+)\}", fill, self.text)


def _filled(name: str, value: str) -> str:
    asked = f"ask for the {name.replace('_', ' ')}"
    if not value:
        return f"({asked})"
    fault = _fault(name, value)
    return value if fault is None else f"({asked}; the value that was given {fault})"


def _fault(name: str, value: str) -> str | None:
    if name == "user_id":
        return user_id_fault(value)
    if len(value) > MAX_VALUE:
        return f"must have at most {MAX_VALUE} characters"
    return text_fault(value) or word_fault(value) or placeholder_fault(value)


@cache
def load_prompts() -> Mapping[str, Prompt]:
    """Return all prompts by name, sorted by name."""
    files = sorted((f for f in _folder().iterdir() if f.name.endswith(".md")), key=lambda f: f.name)
    prompts = [_read(f.name.removesuffix(".md"), f.read_text(encoding="utf-8")) for f in files]
    return {prompt.name: prompt for prompt in prompts}


def _folder() -> Traversable:
    packaged = resources.files("machines_mcp").joinpath("prompts")
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "prompts"


def _read(name: str, source: str) -> Prompt:
    import tomllib

    _, head, text = source.split("+++\n", 2)
    fields = tomllib.loads(head)
    arguments = tuple(types.PromptArgument(**argument) for argument in fields.get("arguments", []))
    return Prompt(name, fields["title"], fields["description"], arguments, text.strip(), tuple(fields.get("needs", ())))
