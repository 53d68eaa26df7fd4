from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.leaks.caller import KINDS
from tests.mutants.__main__ import run_all
from tests.mutants.copies import ROOT, copy_package, interpreter
from tests.mutants.mutants import FOLDER, Mutant, apply, mutants
from tests.mutants.places import hunks, scopes_of_matches
from tests.support.waiting import PATIENCE

# `git apply` takes milliseconds.
pytestmark = pytest.mark.process

NAMES = sorted(path.stem for path in FOLDER.glob("*.patch"))


def test_at_least_forty_planted_leaks_cover_eight_channels() -> None:
    found = mutants()
    assert len(found) >= 40
    assert len({mutant.channel for mutant in found}) >= 8


@pytest.mark.parametrize("name", NAMES)
def test_each_patch_applies_and_names_known_steps(name: str) -> None:
    mutant = Mutant.read(FOLDER / f"{name}.patch")
    assert apply(mutant.patch, ROOT, check=True) == ""
    assert set(mutant.steps) <= set(KINDS)


@pytest.mark.parametrize("name", NAMES)
def test_each_patch_lands_in_the_functions_it_names(tmp_path: Path, name: str) -> None:
    patch = FOLDER / f"{name}.patch"
    for file in {hunk.file for hunk in hunks(patch)}:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    assert apply(patch, tmp_path) == ""
    assert [(hunk.file, hunk.name) for hunk in hunks(patch) if scopes_of_matches(hunk, tmp_path) != {hunk.name}] == []


def test_a_patch_that_lands_elsewhere_is_detected(tmp_path: Path) -> None:
    patch, code = tmp_path / "a.patch", tmp_path / "a.py"
    patch.write_text("--- a/a.py\n+++ b/a.py\n@@ -2,1 +2,2 @@ asked\n     done()\n+    leak()\n", encoding="utf-8")
    code.write_text("def asked():\n    other()\n\n\ndef refused():\n    done()\n", encoding="utf-8")
    assert apply(patch, tmp_path) == ""
    (hunk,) = hunks(patch)
    assert (hunk.name, scopes_of_matches(hunk, tmp_path)) == ("asked", {"refused"})


def test_a_server_and_its_vault_run_the_copy(tmp_path: Path) -> None:
    tree = copy_package(tmp_path)
    python = interpreter(tmp_path, tree)
    code = "import machines_mcp, mcp, sys; print(machines_mcp.__file__, sys.executable)"
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.split() == [str(tree / "machines_mcp" / "__init__.py"), python]


@pytest.mark.check
def test_every_planted_leak_is_found() -> None:
    verdicts = asyncio.run(run_all(mutants(), 11))
    assert [verdict.mutant.name for verdict in verdicts if not verdict.found] == []
