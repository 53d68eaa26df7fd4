"""The steps in docs/adding-a-tool.md work: a copy of the repository that follows them passes its checks."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from machines_mcp.partner.errors import NotFound
from machines_mcp.permissions.action_class import ActionClass
from machines_mcp.protocol.errors import Code
from machines_mcp.protocol.schema import input_schema, output_schema
from machines_mcp.protocol.tool import Tool
from machines_mcp.tools.error_mapping import map_error
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "adding-a-tool.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COPIED = ("machines_mcp", "tests", "docs", "prompts", "distribution", "locks", "examples", "benchmarks", "evals")
SKIPPED = shutil.ignore_patterns("__pycache__", "*.png", "mutants", "crashes")
RUN_SECONDS = 300


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(PAGE) if kind == language]


def step(number: int) -> list[str]:
    """Return the commands of a step."""
    section = re.split(r"^## \d+\. ", PAGE, flags=re.MULTILINE)[number]
    return [line for kind, text in BLOCK.findall(section) if kind == "" for line in text.splitlines()]


def follow(folder: Path) -> None:
    """Apply the page's code blocks to a copy of the repository."""
    for text in blocks("python"):
        first, _, rest = text.partition("\n")
        file = folder / first.removeprefix("# ")
        assert not file.exists(), first
        file.write_text(rest, encoding="utf-8")
    for text in blocks("diff"):
        first, *hunks = re.split(r"^@@\n", text, flags=re.MULTILINE)
        file = folder / first.removeprefix("--- ").strip()
        code = file.read_text(encoding="utf-8")
        for hunk in hunks:
            code = apply_hunk(hunk, code, file.name)
        file.write_text(code, encoding="utf-8")


def apply_hunk(hunk: str, code: str, name: str) -> str:
    """Apply a hunk to code that contains its context exactly once."""
    lines = hunk.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] != "+")
    after = "".join(line[1:] for line in lines if line[0] != "-")
    assert code.count(before) == 1, f"{name}: {before}"
    return code.replace(before, after)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=SKIPPED)
    for path in ROOT.glob("*"):
        if path.is_file():
            shutil.copy(path, folder)
    return folder


def test_the_page_has_ten_steps_and_names_the_file_of_each_block() -> None:
    assert re.findall(r"^## (\d+)\. ", PAGE, re.MULTILINE) == [str(number) for number in range(1, 11)]
    assert len(blocks("python")) == 2
    assert [text.splitlines()[0].removeprefix("--- ") for text in blocks("diff")] == [
        "machines_mcp/tools/catalog.py",
        "machines_mcp/protocol/withheld.py",
        "machines_mcp/tools/error_mapping.py",
        "tests/tools/test_catalog.py",
        "tests/protocol/test_every_action_class.py",
        "tests/tools/test_sentences.py",
    ]


@pytest.mark.check
def test_each_block_applies_and_passes_the_linter(copy: Path) -> None:
    follow(copy)
    changed = [text.splitlines()[0].removeprefix("# ") for text in blocks("python")]
    changed += [text.splitlines()[0].removeprefix("--- ") for text in blocks("diff")]
    for command in (["check", "-q"], ["format", "--check", "-q"]):
        ruff = Path(sys.executable).with_name("ruff")
        done = subprocess.run([ruff, *command, *changed], cwd=copy, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_pages_tool_fits_the_current_interfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("unlock_card")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # pydantic resolves annotations there.
    code, tests = blocks("python")
    exec(compile(code, "unlock_card.py", "exec"), vars(module))  # noqa: S102
    exec(compile(tests, "test_unlock_card.py", "exec"), {"__name__": "test_unlock_card"})  # noqa: S102
    tool: Tool = module.unlock_card
    assert (
        tool.classify(tool.input_model.model_validate({"user_id": "user-1", "card_id": "card-0001"}))
        is ActionClass.MONEY
    )
    assert tool.approval_details is not None
    assert tool.reconcile is not None
    schema = input_schema(tool, pinned=False, asks=True)
    assert schema["properties"].keys() == {"user_id", "card_id", "approval_id", "wait_seconds"}
    assert output_schema(tool)["properties"].keys() == {"card_id", "status"}
    error = map_error(NotFound(), tool)
    assert error is not None
    assert error.code is Code.NOT_FOUND


@pytest.mark.check
def test_a_tool_added_by_the_steps_passes_the_catalogue_checks(copy: Path) -> None:
    follow(copy)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MACHINES_", "PYTEST_"))}
    for command in [*step(8), *step(9)]:
        first, *arguments = shlex.split(command)
        assert first == "python"
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=copy,
            env=kept | {"PYTHONPATH": str(copy)},
            capture_output=True,
            encoding="utf-8",
            timeout=RUN_SECONDS,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}{done.stderr[-2000:]}"
    assert '"unlock_card"' in (copy / "tests/tools/golden/unlock_card.json").read_text(encoding="utf-8")
    assert "| `unlock_card` |" in (copy / "README.md").read_text(encoding="utf-8")
