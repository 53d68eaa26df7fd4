"""Generate the blocks of docs/architecture.md: layers, import rules, modules, and the cost of a call."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
PACKAGE = "machines_mcp"
_BLOCK = re.compile(r"(<!-- (\w+)(?: (\w+))?: made by `make docs` -->\n).*?(<!-- /\2(?: \3)? -->)", re.DOTALL)
# One row for the folder: its modules repeat the same pattern.
_ONE_ROW = {"cli/commands", "partner/models", "partner/resources"}


def contracts() -> list[dict[str, Any]]:
    """Return the import rules of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = project["tool"]["importlinter"]["contracts"]
    return found


def layer_list() -> list[list[str]]:
    """Return the layers from top to bottom, each with its folders."""
    (contract,) = [each for each in contracts() if each["type"] == "layers"]
    return [[_short(name) for name in re.split(r"[|:]", layer)] for layer in contract["layers"]]


def layers() -> str:
    """Return the layers as a Mermaid picture, and the rules that are promises as a table."""
    lines = ["```mermaid", "flowchart TB"]
    for number, names in enumerate(layer_list()):
        lines.append(f'    subgraph layer{number}[" "]')
        lines += [f'        {name.replace(".", "_")}["{name.replace(".", "/")}"]' for name in names]
        lines.append("    end")
    lines += [f"    layer{number} --> layer{number + 1}" for number in range(len(layer_list()) - 1)]
    lines += ["```", "", "| also forbidden | from | to |", "| --- | --- | --- |"]
    for each in contracts():
        if each["type"] == "forbidden":
            sides = (each["source_modules"], each["forbidden_modules"])
            lines.append(f"| {each['name']} | {' | '.join(_names(side) for side in sides)} |")
    return "\n".join(lines) + "\n"


def modules(folder: str) -> str:
    """Return a folded table of a folder's modules, from the first sentence of each docstring."""
    rows = [f"| `{name}` | {text} |" for name, text in _described(ROOT / PACKAGE / folder)]
    head = [
        f"<details><summary>Modules of <code>{folder}/</code></summary>",
        "",
        "| module | purpose |",
        "| --- | --- |",
    ]
    return "\n".join([*head, *rows, "", "</details>"]) + "\n"


def call_path() -> str:
    """Return how often a call changes module, before and after its path was straightened."""
    sys.path.insert(0, str(ROOT))
    from benchmarks.call_path import FIGURES, table

    recorded = json.loads(FIGURES.read_text(encoding="utf-8"))
    if "after" not in recorded:
        return ""
    head = "How often one call changes module inside the package (`python -m benchmarks.call_path`):"
    return f"{head}\n\n{table(recorded)}\n"


def page() -> str:
    """Return the whole page with new generated blocks."""
    made = {"layers": layers, "modules": modules, "call_path": call_path}

    def block(found: re.Match[str]) -> str:
        arguments = [found[3]] if found[3] else []
        return f"{found[1]}{made[found[2]](*arguments)}{found[4]}"

    return _BLOCK.sub(block, PAGE.read_text(encoding="utf-8"))


def _described(folder: Path) -> Iterator[tuple[str, str]]:
    base = ROOT / PACKAGE
    for path in sorted(folder.rglob("*.py")):
        inner = path.parent.relative_to(base).as_posix()
        if inner in _ONE_ROW and path.name == "__init__.py":
            yield f"{path.parent.relative_to(folder).as_posix()}/", first_sentence(path)
        elif inner not in _ONE_ROW and path.name != "__init__.py":
            yield path.relative_to(folder).as_posix(), first_sentence(path)


def first_sentence(path: Path) -> str:
    """Return the first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    found = re.match(r".+?[.!?](?=\s|$)", paragraph)
    return (found[0] if found else paragraph).replace("|", "\\|")


def _short(name: str) -> str:
    return name.strip(" ()").removeprefix(f"{PACKAGE}.")


def _names(modules: list[str]) -> str:
    """Format modules; a long list of folders as the folders that it leaves out."""
    folders = sorted(path.parent.name for path in (ROOT / PACKAGE).glob("*/__init__.py"))
    names = [_short(name) for name in modules]
    if len(names) <= len(folders) // 2:
        return ", ".join(f"`{name}`" for name in names)
    return "all but " + ", ".join(f"`{name}`" for name in folders if name not in names)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
