"""The software bill of materials: what an installation from the locks contains, in CycloneDX 1.6.

`locks/runtime.txt` is what the server needs. What `locks/chain.txt` adds, for withdrawals on chain, has the scope
`optional`. The licences are those that the installed packages state. The hashes of the files are in the locks.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

import machines_mcp

LOCKS: Final = Path(__file__).parents[1] / "locks"
_ENTRY: Final = re.compile(r"^(?P<name>[a-z0-9][\w.-]*)==(?P<version>[^\s;]+)(?: ; (?P<marker>[^\\]+))?")
# What packages state instead of an SPDX id.
_CLASSIFIERS: Final = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
# Read in the packages' own licence files: their metadata is not exact, or another system installs them.
_READ: Final = {
    "httpx2-jsfetch": "BSD-3-Clause",
    "jinja2": "BSD-3-Clause",
    "pycryptodome": "BSD-2-Clause AND LicenseRef-Public-Domain",
    "pywin32": "PSF-2.0",
    "pywin32-ctypes": "BSD-3-Clause",
    "solders": "Apache-2.0",
}
UNSTATED: Final = "not stated"
"""What the table says of a package without a licence in its files."""
_NAMESPACE: Final = uuid.UUID("6b1ff6a4-5f0b-4e4c-a3d0-1df1c8f7a6f5")


@dataclass(frozen=True)
class Package:
    """An entry of a lock. `where` is the environment marker; empty if all systems install it."""

    name: str
    version: str
    where: str
    optional: bool

    @property
    def licence(self) -> str:
        """The licence as an SPDX expression, or `UNSTATED`.

        Raises:
            LookupError: this machine has no such package, and its licence file was not read.
        """
        return _READ.get(self.name) or _stated(self.name, self.version)


def packages() -> list[Package]:
    """Return what the locks install, sorted by name."""
    needed = {name for name, _, _ in _entries("runtime.txt")}
    return [
        Package(name, version, where, optional=name not in needed)
        for name, version, where in sorted(_entries("chain.txt"))
    ]


def bom() -> str:
    """Return the bill of materials as JSON. It has no time of making, so equal locks give equal files."""
    listed = packages()
    root = Component(name="machines-mcp", version=machines_mcp.__version__, type=ComponentType.APPLICATION)
    root.bom_ref.value = "machines-mcp"
    root.licenses.add(LicenseFactory().make_from_string("MIT"))
    components = [_component(package) for package in listed]
    made = Bom(components=components, serial_number=uuid.uuid5(_NAMESPACE, repr(listed)))
    made.metadata.component = root
    made.metadata.timestamp = None  # type: ignore[assignment]  # optional in CycloneDX, and the library writes none
    made.register_dependency(root, components)
    return JsonV1Dot6(made).output_as_string(indent=2) + "\n"


def licences() -> Mapping[str, list[Package]]:
    """Return the packages by licence, sorted."""
    found: dict[str, list[Package]] = {}
    for package in packages():
        found.setdefault(package.licence, []).append(package)
    return dict(sorted(found.items()))


def _entries(lock: str) -> Iterator[tuple[str, str, str]]:
    for line in (LOCKS / lock).read_text(encoding="utf-8").splitlines():
        if (entry := _ENTRY.match(line)) is not None:
            yield entry["name"], entry["version"], (entry["marker"] or "").strip()


def _component(package: Package) -> Component:
    url = PackageURL("pypi", None, package.name, package.version)
    component = Component(
        name=package.name,
        version=package.version,
        purl=url,
        scope=ComponentScope.OPTIONAL if package.optional else ComponentScope.REQUIRED,
        properties=[Property(name="python:marker", value=package.where)] if package.where else [],
    )
    component.bom_ref.value = str(url)
    if package.licence != UNSTATED:
        component.licenses.add(LicenseFactory().make_from_string(package.licence))
    return component


def _stated(name: str, version: str) -> str:
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise LookupError(f"{name} is not installed here, so its licence can't be read") from None
    if found.version != version:
        raise LookupError(f"{name} {found.version} is installed; the lock has {version}. Run make test first.")
    if expression := found.metadata.get_all("License-Expression"):
        return str(expression[0])
    short = str((found.metadata.get_all("License") or [""])[0])
    if re.fullmatch(r"[A-Z][\w.-]+(?: (?:OR|AND) [A-Z][\w.-]+)*", short):
        return short
    classifiers = [line.rsplit(" :: ", 1)[-1] for line in found.metadata.get_all("Classifier") or ()]
    known = [_CLASSIFIERS[line] for line in classifiers if line in _CLASSIFIERS]
    return known[0] if len(known) == 1 else UNSTATED
