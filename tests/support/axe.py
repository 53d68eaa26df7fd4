"""axe-core, which judges the accessibility of a page in Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import Tab

AXE = "axe-core@4.14.1"
RUN_AXE = (
    "axe.run(document, {resultTypes: ['violations']}).then((found) => ({count: found.passes.length,"
    " bad: found.violations.map((one) => [one.id, one.nodes.map((node) => node.html)])}))"
)


def axe_source(folder: Path) -> str:
    """Return the source of axe-core, fetched from npm into this folder. Skip the test if npm can't; fail it in CI."""
    npm, ci = shutil.which("npm"), bool(os.environ.get("CI"))
    if npm is None and not ci:
        pytest.skip("npm is not installed, so axe-core can't be had")
    assert npm is not None, "the continuous integration has npm"
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), AXE]
    got = subprocess.run(command, capture_output=True, text=True, timeout=180)
    if got.returncode != 0 and not ci:
        pytest.skip("npm could not fetch axe-core")
    assert got.returncode == 0, got.stderr[-500:]
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def violations(page: Tab, axe: str) -> list[Any]:
    """Return what axe-core finds on the page, after a check that it has looked."""
    page.evaluate(axe)
    answer = page.call("Runtime.evaluate", expression=RUN_AXE, awaitPromise=True, returnByValue=True)
    judged = answer["result"]["value"]
    assert judged["count"] > 12
    return list(judged["bad"])
