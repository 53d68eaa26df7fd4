"""The bill of materials: valid CycloneDX, all that the locks install, and licences that allow to ship it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from distribution import sbom

FILE = Path(__file__).parents[2] / "distribution" / "sbom.cdx.json"
# MPL-2.0 asks for the source of its own files only.
ALLOWED = {
    *("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0"),
    *("Apache-2.0 AND CNRI-Python", "Apache-2.0 OR BSD-2-Clause", "Apache-2.0 OR BSD-3-Clause", "MIT OR Apache-2.0"),
    "BSD-2-Clause AND LicenseRef-Public-Domain",
}


@pytest.fixture(scope="module")
def bom() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def test_file_is_valid() -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)

    assert validator.validate_str(FILE.read_text(encoding="utf-8")) is None
    assert validator.validate_str('{"bomFormat": "CycloneDX"}') is not None


def test_file_has_no_time_of_making(bom: dict[str, Any]) -> None:
    assert "timestamp" not in bom["metadata"]


@pytest.mark.parametrize(("lock", "scopes"), [("runtime.txt", {"required"}), ("chain.txt", {"required", "optional"})])
def test_every_locked_package_is_listed(bom: dict[str, Any], lock: str, scopes: set[str]) -> None:
    lines = (sbom.LOCKS / lock).read_text(encoding="utf-8").splitlines()
    locked = {line.split(" ")[0].replace("==", "@") for line in lines if "==" in line.split(" ")[0]}

    listed = {one["purl"].removeprefix("pkg:pypi/") for one in bom["components"] if one["scope"] in scopes}

    assert len(locked) > 50
    assert listed == locked


def test_licences_allow_to_ship_it() -> None:
    found = sbom.licences()

    assert set(found) - ALLOWED == {sbom.UNSTATED}
    assert [package.name for package in found[sbom.UNSTATED]] == ["jsonalias"]


def test_package_that_is_not_installed_has_no_guessed_licence() -> None:
    absent = sbom.Package("no-such-package", "1.0", "", optional=False)
    older = sbom.Package("httpx", "0.1", "", optional=False)

    with pytest.raises(LookupError, match="not installed"):
        print(absent.licence)
    with pytest.raises(LookupError, match="the lock has 0\\.1"):
        print(older.licence)
