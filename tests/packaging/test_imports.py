"""The package imports only declared dependencies and, from the MCP SDK, only public names."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Collection, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SDK = {"mcp", "mcp_types"}
# Shipped with, and pinned by, a declared dependency.
PART_OF = {"mcp-types": "mcp", "pydantic-core": "pydantic", "markupsafe": "jinja2"} | {
    "rlp": "eth-account",
    "hexbytes": "eth-account",
}
# Declared for a dependency that uses it at run time, to run faster.
LOOKED_FOR = {"sniffio"}
# A module of the package that only a plugin's host loads, with what the host brings.
LOADED_BY_HOST = {"machines_mcp/testing/pytest.py": {"pytest"}}
# Public according to its documentation, despite its underscore.
DOCUMENTED = {"_exit"}


def _modules(root: Path) -> list[Path]:
    return sorted((root / "machines_mcp").rglob("*.py"))


def _imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield each external import as (module, name). The name is empty for a plain import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)


def _private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def _sdk_private_imports(source: str) -> list[str]:
    return [
        f"{module}.{name}".rstrip(".")
        for module, name in _imports(ast.parse(source))
        if module.split(".")[0] in SDK and any(_private(part) for part in [*module.split("."), name])
    ]


def _defined(source: str) -> set[str]:
    """Return the names of every class, function, variable and attribute that the module defines."""
    own = set[str]()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                own.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                own.add(name)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                own.add(name)
    return own


def _foreign_private_names(source: str, inheritable: Collection[str] = ()) -> list[str]:
    """Return private attributes that the module uses but neither defines nor, on `self`, inherits."""
    used = set[str]()
    own = _defined(source)
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name) if name in inheritable:
                pass
            case ast.Attribute(attr=name):
                used.add(name)
            case ast.Call(func=ast.Name(id="getattr" | "setattr"), args=[_, ast.Constant(value=str(name)), *_]):
                used.add(name)
    return sorted(name for name in used - own - DOCUMENTED if _private(name))


def test_package_imports_no_private_name_of_the_sdk(root: Path) -> None:
    found = {str(path): _sdk_private_imports(path.read_text(encoding="utf-8")) for path in _modules(root)}

    assert {path: names for path, names in found.items() if names} == {}


def test_package_uses_no_private_attribute_of_other_modules(root: Path) -> None:
    sources = {str(path): path.read_text(encoding="utf-8") for path in _modules(root)}
    ours = set[str]().union(*map(_defined, sources.values()))
    found = {path: _foreign_private_names(source, ours) for path, source in sources.items()}

    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "source",
    [
        "from mcp.shared._context import RequestContext",
        "import mcp_types._types",
        "from mcp.server import _otel",
        "def f(): from mcp._version import v",
    ],
)
def test_private_import_of_the_sdk_is_detected(source: str) -> None:
    assert _sdk_private_imports(source)


@pytest.mark.parametrize(
    "source",
    ["server._lowlevel_server.run()", "self.server._tools = {}", "getattr(server, '_tools')", "class A(B):\n x = A._y"],
)
def test_private_attribute_of_another_object_is_detected(source: str) -> None:
    assert _foreign_private_names(source)


@pytest.mark.parametrize(
    "source",
    ["class A:\n def __init__(self): self._x = 1\n def f(self, o): return o._x + self._x", "a.__class__", "_x = 1"],
)
def test_own_private_name_is_allowed(source: str) -> None:
    assert _foreign_private_names(source) == []


def test_imports_and_declared_dependencies_match(root: Path) -> None:
    imported = {
        module.split(".")[0]
        for path in _modules(root)
        for module, _ in _imports(ast.parse(path.read_text(encoding="utf-8")))
        if module.split(".")[0] not in LOADED_BY_HOST.get(path.relative_to(root).as_posix(), ())
    }
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # The extra `evals` is for the checkout's evals/, which is not in the package.
    extras = [
        entry for name, entries in project["optional-dependencies"].items() if name != "evals" for entry in entries
    ]
    wanted = map(Requirement, [*project["dependencies"], *extras])
    # An extra may be for some platforms only, and may contain another extra.
    found = {canonicalize_name(each.name) for each in wanted if each.marker is None or each.marker.evaluate()}
    declared = found - {"machines-mcp"}
    distributions = packages_distributions()
    used = set()
    for module in imported - sys.stdlib_module_names - {"machines_mcp"}:
        # Several distributions can share a namespace.
        names = {canonicalize_name(name) for name in distributions.get(module, ())}
        used |= names & declared or names

    assert {PART_OF.get(name, name) for name in used} == declared - LOOKED_FOR
