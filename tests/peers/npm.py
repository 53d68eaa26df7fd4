"""The peers' npm packages, installed once per test run into a temporary folder."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

PACKAGES = (
    "@modelcontextprotocol/conformance@0.2.0-alpha.12",
    "@modelcontextprotocol/sdk@1.32.2",
    "@modelcontextprotocol/client@2.4.0",
    "@modelcontextprotocol/inspector@2.12.0",
    "@modelcontextprotocol/ext-apps@2.0.4",
)
CLIENTS = ("@anthropic-ai/claude-code@2.1.197", "@google/gemini-cli@0.61.0", "@openai/codex@0.171.0")
"""Clients that run in a terminal; they read the configs that `machines-mcp install` writes."""
INSTALL_SECONDS = 300


def node_package() -> str:
    """Return the npm package with Node 22 for this machine, which the suite and the Inspector need."""
    system, machine = platform.system().lower(), platform.machine().lower()
    chip = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(machine, machine)
    return f"node-{'bin-' if (system, chip) == ('darwin', 'arm64') else ''}{system}-{chip}"


def installed(folder: Path, packages: Sequence[str] = PACKAGES) -> Path:
    """Install the packages and Node 22, and return `node_modules`. Package scripts don't run.

    Skips the test if npm or a package is unavailable, except in continuous integration, which has both.
    """
    npm, ci = shutil.which("npm"), bool(os.environ.get("CI"))
    if npm is None and not ci:
        pytest.skip("npm is not installed, so the peers' programs can't be had")
    assert npm is not None, "the continuous integration has npm"
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", "--prefix"]
    named = [*packages, f"{node_package()}@22"]
    done = subprocess.run([*command, folder, *named], capture_output=True, text=True, timeout=INSTALL_SECONDS)
    if done.returncode != 0 and not ci:
        pytest.skip("npm could not fetch the peers' programs")
    assert done.returncode == 0, done.stderr
    return folder / "node_modules"


def node_command(node_modules: Path) -> Callable[..., list[str]]:
    """Return the command that runs a script with Node 22."""
    program = node_modules / node_package() / "bin" / "node"
    return lambda script, *arguments: [str(program), str(script), *map(str, arguments)]
