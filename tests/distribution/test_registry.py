"""The registry entry: the registry's requirements, as far as we restate them, and the entry's claims about the
server."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from distribution.__main__ import files
from machines_mcp import __version__
from machines_mcp.server.settings import SettingsError
from machines_mcp.server.settings_reader import VARIABLES, read_settings

ROOT = Path(__file__).parents[2]
# Anyone with one of these could act as the partner or as the proxy's user.
SECRETS = {"MACHINES_PARTNER_KEY", "MACHINES_PROXY"}


@pytest.fixture(scope="module")
def entry() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "distribution" / "server.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def package(entry: dict[str, Any]) -> dict[str, Any]:
    (found,) = entry["packages"]
    return dict(found)


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_generated_file_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == files()[path], "run `make docs`"


def test_entry_has_the_required_fields_within_their_lengths(entry: dict[str, Any]) -> None:
    assert entry["$schema"].endswith("/2025-12-11/server.schema.json")
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", entry["name"])
    assert 3 <= len(entry["name"]) <= 200
    assert 1 <= len(entry["description"]) <= 100
    assert 1 <= len(entry["title"]) <= 100


def test_entry_and_package_have_the_codes_version(entry: dict[str, Any], package: dict[str, Any]) -> None:
    assert entry["version"] == package["version"] == __version__


def test_package_is_the_published_one_and_runs_over_stdio(package: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert package["identifier"] == project["name"]
    # uvx runs the script with the package's name.
    assert package["identifier"] in project["scripts"]
    assert (package["registryType"], package["runtimeHint"], package["transport"]) == ("pypi", "uvx", {"type": "stdio"})


def test_readme_and_project_name_the_entrys_owner(entry: dict[str, Any]) -> None:
    marked = re.findall(r"^<!-- mcp-name: (\S+) -->$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert marked == [entry["name"]]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["urls"]["Repository"] == entry["repository"]["url"]
    assert project["readme"] == "README.md"
    owner = entry["name"].removeprefix("io.github.").partition("/")[0]
    assert entry["repository"]["url"].startswith(f"https://github.com/{owner}/")


def test_every_setting_is_listed_once_and_secrets_are_marked(package: dict[str, Any]) -> None:
    listed = [variable["name"] for variable in package["environmentVariables"]]
    assert len(listed) == len(set(listed))
    assert set(listed) == VARIABLES
    assert {variable["name"] for variable in package["environmentVariables"] if variable["isSecret"]} == SECRETS
    assert all(variable["description"] for variable in package["environmentVariables"])


def test_optional_settings_are_not_required(package: dict[str, Any], tmp_path: Path) -> None:
    assert not any(variable["isRequired"] for variable in package["environmentVariables"])
    defaults = {v["name"]: v["default"] for v in package["environmentVariables"] if "default" in v}
    settings = read_settings(defaults | {"MACHINES_STATE_DIR": str(tmp_path)})
    assert settings.simulated


def test_server_rejects_values_outside_the_listed_choices(package: dict[str, Any], tmp_path: Path) -> None:
    (environment,) = (variable for variable in package["environmentVariables"] if "choices" in variable)
    assert environment["name"] == "MACHINES_ENV"
    others = {"MACHINES_PARTNER_KEY": "k" * 20, "MACHINES_USER_ID": "user-1", "MACHINES_STATE_DIR": str(tmp_path)}
    for choice in set(environment["choices"]) - {"embedded"}:
        read_settings(others | {"MACHINES_ENV": choice})
    with pytest.raises(SettingsError, match=" or ".join(environment["choices"][-2:])):
        read_settings(others | {"MACHINES_ENV": "staging"})
