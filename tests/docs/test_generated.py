"""What the documents say by generation is what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_readme_has_the_tools_as_they_are() -> None:
    script = "import sys; sys.path.insert(0, 'docs'); import generate; sys.stdout.reconfigure(encoding='utf-8');"
    made = subprocess.run(
        [sys.executable, "-c", script + "sys.stdout.write(generate.readme())"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout
    assert made == (ROOT / "README.md").read_text(encoding="utf-8"), "run `make docs`"


def test_the_page_on_policies_has_its_keys_and_defaults_as_they_are() -> None:
    script = "import sys; sys.path.insert(0, 'docs'); import policy_page; sys.stdout.reconfigure(encoding='utf-8');"
    made = subprocess.run(
        [sys.executable, "-c", script + "sys.stdout.write(policy_page.page())"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout
    assert made == (ROOT / "docs" / "policy.md").read_text(encoding="utf-8"), "run `make docs`"
