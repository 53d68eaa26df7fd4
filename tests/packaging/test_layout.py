"""Check the layout of the package: few folders, short modules, no circle of imports, one public surface."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

MAX_LINES = 250
MAX_FOLDERS = 14
TOP_FILES = {"__init__.py", "__main__.py", "py.typed"}
PUBLIC = (
    "machines_mcp.partner",
    "machines_mcp.partner.errors",
    "machines_mcp.redaction.secret",
    "machines_mcp.testing",
)
"""The modules that programs outside this repository may import."""
# For contributors: it edits the package itself.
INTERNAL_PAGES = {"adding-a-tool.md"}


def modules(root: Path) -> dict[str, Path]:
    """Return each module's file by its dotted name."""
    found = {}
    for path in sorted((root / "machines_mcp").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(source: str, known: Mapping[str, object], module: str = "") -> set[str]:
    """Return the `known` modules that a source imports anywhere: in functions and for type checkers, too."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{module} has a relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner | ({node.module} if not inner <= known.keys() else set())
    return found & known.keys()


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Return the modules of one circle; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_package_has_at_most_fourteen_top_level_folders(root: Path) -> None:
    entries = [path for path in (root / "machines_mcp").iterdir() if path.name != "__pycache__"]
    assert {path.name for path in entries if path.is_file()} == TOP_FILES
    assert len([path for path in entries if path.is_dir()]) <= MAX_FOLDERS


def test_every_folder_holds_a_package_with_modules(root: Path) -> None:
    for folder in (path for path in (root / "machines_mcp").iterdir() if path.is_dir() and path.name != "__pycache__"):
        assert (folder / "__init__.py").is_file(), folder.name
        assert len(list(folder.rglob("*.py"))) > 1, folder.name


def test_no_module_is_longer_than_the_limit(root: Path) -> None:
    sizes = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules(root).items()}
    assert {name: lines for name, lines in sizes.items() if lines > MAX_LINES} == {}


def test_no_modules_import_each_other_in_a_circle(root: Path) -> None:
    known = modules(root)
    graph = {name: imported(path.read_text(encoding="utf-8"), known, name) for name, path in known.items()}
    assert sum(map(len, graph.values())) > 1000  # the graph was read
    assert circle(graph) == []


@pytest.mark.parametrize(
    "source",
    [
        "import p.a",
        "from p import a",
        "from p.a import Name",
        "def late():\n    from p.a import Name",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.a import Name",
    ],
)
def test_import_circle_is_found_in_every_form(source: str) -> None:
    known = dict.fromkeys(("p", "p.a", "p.b"))
    graph = {"p": set[str](), "p.a": imported("from p.b import other", known), "p.b": imported(source, known)}
    assert set(circle(graph)) == {"p.a", "p.b"}


def _examples(root: Path) -> Iterator[tuple[str, str]]:
    """Yield the module and name of each import that the docs and examples show to users."""
    pages = [root / "README.md", *(page for page in (root / "docs").glob("*.md") if page.name not in INTERNAL_PAGES)]
    blocks = [block for page in pages for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.S)]
    for source in (*blocks, *(path.read_text("utf-8") for path in (root / "examples").glob("*.py"))):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("machines_mcp"):
                yield from ((str(node.module), alias.name) for alias in node.names)


def test_docs_and_examples_import_public_names_only(root: Path) -> None:
    shown = set(_examples(root))
    assert {module for module, _ in shown} == set(PUBLIC)
    for module, name in sorted(shown):
        assert name in importlib.import_module(module).__all__, f"{module}.{name}"


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_can_be_imported(module: str) -> None:
    public = importlib.import_module(module)
    assert len(public.__all__) == len(set(public.__all__)) > 0
    for name in public.__all__:
        assert not name.startswith("_")
        assert hasattr(public, name), name


# A tool asks for an approval by running; it never decides one, records a mutation of its own, or changes the filter.
FORBIDDEN_TO_TOOLS = re.compile(
    r"guard\.(channels|authorizer|passphrase\.(check|set))|approvals\.(grant|consume|finish|refuse|take|open|reopen)"
    r"|journal\.(begin|end|close|resolve)|audit\.(append|note|alarm)|output_filter\.(allow|remove_secret)"
)


def test_no_tool_decides_an_approval_or_changes_the_output_filter(root: Path) -> None:
    found = [
        f"{path.name}: {match[0]}"
        for path in sorted((root / "machines_mcp" / "tools").glob("*.py"))
        for match in FORBIDDEN_TO_TOOLS.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []
    assert FORBIDDEN_TO_TOOLS.search("call.services.state.guard.channels.grant(approval_id)")
