"""The bundle for desktop clients: its manifest, its contents, and the server that starts from it unpacked."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.wire import ERAS, Command, Wire
from distribution import bundle
from distribution.manifest import manifest
from distribution.options import OPTIONS
from machines_mcp import __version__
from machines_mcp.protocol.prompts import load_prompts
from machines_mcp.server.settings_reader import read_settings
from machines_mcp.tools.catalog import CHAIN_TOOLS, TOOLS
from tests.support.environments import VirtualEnvironment

ROOT = Path(__file__).parents[2]
PACKER = "@anthropic-ai/mcpb@2.1.2"
SECONDS = 300
# Builds a client's config with the format's own library, from the manifest and the person's input.
RESOLVE = """
import { getMcpConfigForManifest } from "PACKAGE";
import { readFileSync } from "node:fs";
const [folder, userConfig] = process.argv.slice(2);
const manifest = JSON.parse(readFileSync(folder + "/manifest.json", "utf8"));
console.log(JSON.stringify(await getMcpConfigForManifest({
  manifest, extensionPath: folder, systemDirs: {}, userConfig: JSON.parse(userConfig), pathSeparator: "/" })));
"""


def test_every_form_field_is_passed_on_and_only_the_key_is_hidden() -> None:
    made = manifest()
    handed = made["server"]["mcp_config"]["env"]
    assert set(handed) == {name for name, option in OPTIONS.items() if option.title}
    assert {value for value in handed.values()} == {f"${{user_config.{key}}}" for key in made["user_config"]}
    assert [key for key, question in made["user_config"].items() if question.get("sensitive")] == ["partner_key"]


def test_default_form_starts_the_simulator(tmp_path: Path) -> None:
    made = manifest()
    filled = {key: question["default"] for key, question in made["user_config"].items()}
    given = {
        name: {True: "true", False: "false"}.get(filled[value[14:-1]], filled[value[14:-1]])
        for name, value in made["server"]["mcp_config"]["env"].items()
    }
    assert read_settings(given | {"MACHINES_STATE_DIR": str(tmp_path)}).simulated


def test_manifest_lists_the_servers_tools_and_prompts() -> None:
    made = manifest()
    assert [tool["name"] for tool in made["tools"]] == [tool.name for tool in TOOLS if tool not in CHAIN_TOOLS]
    assert all(re.fullmatch(r"[A-Z][^\n]*\.", tool["description"]) for tool in made["tools"])
    assert [prompt["name"] for prompt in made["prompts"]] == list(load_prompts())
    for prompt in made["prompts"]:
        assert set(re.findall(r"\$\{arguments\.(\w+)\}", prompt["text"])) <= set(prompt["arguments"])
        assert not re.search(r"(?<!\$)\{\w+\}", prompt["text"])


def test_bundle_project_pins_the_locked_versions() -> None:
    lock = bundle.LOCK.read_text(encoding="utf-8")
    made = tomllib.loads(bundle.project("a.whl", lock))
    pins = made["tool"]["uv"]["constraint-dependencies"]
    assert len(pins) == len(re.findall(r"^\S+==", lock, re.MULTILINE))
    assert made["project"]["version"] == __version__
    assert made["tool"]["uv"]["sources"]["machines-mcp"] == {"path": "a.whl"}


@pytest.fixture(scope="session")
def uv(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the uv version that the repository locks."""
    environment = VirtualEnvironment(tmp_path_factory.mktemp("uv") / "venv")
    environment.install_lock(ROOT / "locks" / "lock.txt")
    return str(environment.bin / "uv")


@pytest.fixture(scope="session")
def mcpb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the format's own tools, from npm."""
    npm, ci = shutil.which("npm"), bool(os.environ.get("CI"))
    if npm is None and not ci:
        pytest.skip("npm is not installed")
    assert npm, "continuous integration needs npm"
    folder = tmp_path_factory.mktemp("mcpb")
    install = [
        npm,
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--prefix",
        str(folder),
        PACKER,
    ]
    done = subprocess.run(install, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode and not ci:
        pytest.skip(f"npm can't install {PACKER} here")
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "node_modules"


@pytest.fixture(scope="session")
def packed(uv: str, mcpb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the bundle with the command of `make bundle`, as a builder with a custom package index."""
    into = tmp_path_factory.mktemp("packed")
    command = [sys.executable, "-m", "distribution.bundle", "--into", str(into), "--uv", uv]
    elsewhere = {**os.environ, "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple"}
    _run([*command, "--packer", str(mcpb / ".bin" / "mcpb")], ROOT, elsewhere)
    (found,) = into.iterdir()
    return found


@pytest.fixture
def unpacked(packed: Path, mcpb: Path, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "bundle"
    _run([str(mcpb / ".bin" / "mcpb"), "unpack", str(packed), str(folder)], tmp_path)
    yield folder


@pytest.mark.check
def test_bundle_contains_package_and_lock_and_no_builder_data(packed: Path, mcpb: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        names = set(archive.namelist())
        texts = {name: archive.read(name).decode() for name in names if not name.endswith(".whl")}
    wheel = f"machines_mcp-{__version__}-py3-none-any.whl"
    about = {"LICENSE", "README.md"}
    assert names == {"manifest.json", "pyproject.toml", "server.py", "uv.lock", wheel} | about
    assert json.loads(texts["manifest.json"]) == manifest()
    assert not re.search(r"file://|(?<![\w.])/(home|root|tmp|work|Users)/", texts["uv.lock"] + texts["pyproject.toml"])
    told = _run([str(mcpb / ".bin" / "mcpb"), "info", str(packed)], packed.parent)
    assert packed.name in told


@pytest.mark.check
@pytest.mark.skipif(sys.platform == "win32", reason="the pipes are read with select")
@pytest.mark.parametrize("era", ERAS)
def test_manifest_command_starts_the_server_from_the_unpacked_bundle(
    unpacked: Path, uv: str, mcpb: Path, tmp_path: Path, era: Any
) -> None:
    config = _resolved(unpacked, mcpb, {"read_only": True, "toolsets": "cards,observe"})
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "PATH": f"{Path(uv).parent}:{os.defpath}",
        "HOME": str(home),
        "UV_PYTHON": sys.executable,
        "UV_PYTHON_DOWNLOADS": "never",
        "MACHINES_STATE_DIR": str(home / "state"),
        **{
            name: value
            for name, value in os.environ.items()
            if name.startswith("SSL_CERT_") or "_proxy" in name.lower()
        },
        **config["env"],
    }
    # A client may install before the first start. The start itself then has its usual deadline.
    _run([config["command"], "sync", "--frozen", "--no-dev", "--quiet"], unpacked, environment)

    with Wire(Command("the bundle", [config["command"], *config["args"]], environment), era) as wire:
        wire.greet()
        names = {tool["name"] for tool in wire.ask("tools/list", {})["tools"]}
        status = wire.ask("tools/call", {"name": "status", "arguments": {}})["structuredContent"]

    assert status["simulated"] is True
    assert "list_cards" in names
    assert not names & {"create_card", "create_deposit"}


@pytest.mark.check
def test_modified_file_is_not_installed(unpacked: Path, uv: str, tmp_path: Path) -> None:
    lock = unpacked / "uv.lock"
    lock.write_text(re.sub('hash = "sha256:.', 'hash = "sha256:0', lock.read_text(encoding="utf-8")), encoding="utf-8")
    environment = {**os.environ, "UV_CACHE_DIR": str(tmp_path / "cache"), "UV_PYTHON": sys.executable}
    sync = [uv, "sync", "--frozen", "--no-dev"]
    done = subprocess.run(sync, cwd=unpacked, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode != 0
    assert "Hash mismatch" in done.stderr


def test_file_missing_from_the_lock_fails_the_build() -> None:
    known = re.findall(r"sha256:[0-9a-f]{64}", bundle.LOCK.read_text(encoding="utf-8"))[0]
    ours = f'{{ path = "a.whl", hash = "sha256:{"1" * 64}" }}\n'
    bundle.check_lock(f'{ours}{{ hash = "{known}" }}', "a.whl")
    with pytest.raises(bundle.BundleError, match="1 files are not in locks"):
        bundle.check_lock(f'{ours}{{ hash = "sha256:{"2" * 64}" }}', "a.whl")


def _resolved(folder: Path, mcpb: Path, filled: dict[str, Any]) -> dict[str, Any]:
    library = mcpb / "@anthropic-ai" / "mcpb" / "dist" / "index.js"
    script = folder.parent / "resolve.mjs"
    script.write_text(RESOLVE.replace("PACKAGE", library.as_uri()), encoding="utf-8")
    found: dict[str, Any] = json.loads(_run(["node", str(script), str(folder), json.dumps(filled)], folder))
    return found


def _run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout
