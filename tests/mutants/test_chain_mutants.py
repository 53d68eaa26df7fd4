"""Each check of a withdrawal's plan, and each duty of the simulator's chain, removed in turn: tests must fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.copies import ROOT, copy_package
from tests.mutants.mutants import FOLDER, apply
from tests.mutants.places import hunks, scopes_of_matches
from tests.support.waiting import PATIENCE

# `git apply` takes milliseconds.
pytestmark = pytest.mark.process

PATCHES = sorted((FOLDER / "chain").glob("*.patch"))
NAMES = [patch.stem for patch in PATCHES]
_PLANS = ("test_checks.py", "test_plan.py")
_SOLANA = ("test_solana_plan.py",)
# Which tests of `tests/chain` look at the check, by the name of the patch; otherwise those of plans on its chain.
_OTHERS = {
    "chain-id": ("test_rpc.py",),
    "path-known": ("test_order.py",),
    "receipt-input": ("test_receipts.py",),
    "receipt-target": ("test_receipts.py",),
    "receipt-transfer": ("test_receipts.py",),
    "receipt-solana-signature": ("test_solana_receipts.py",),
    "receipt-solana-transfer": ("test_solana_receipts.py",),
    **dict.fromkeys((name for name in NAMES if name.startswith("sandbox-")), ("test_sandbox_chain.py",)),
    "sandbox-origin": ("test_rpc_of_the_sandbox.py",),
}


@pytest.mark.parametrize("patch", PATCHES, ids=NAMES)
def test_each_patch_applies_where_it_says(tmp_path: Path, patch: Path) -> None:
    assert patch.read_text(encoding="utf-8").startswith("Check: ")
    for file in {hunk.file for hunk in hunks(patch)}:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    assert apply(patch, tmp_path) == ""
    assert [(hunk.file, hunk.name) for hunk in hunks(patch) if scopes_of_matches(hunk, tmp_path) != {hunk.name}] == []


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with the tests of plans."""
    copy = copy_package(tmp_path_factory.mktemp("chain"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for name in ("chain", "contract", "support"):
        shutil.copytree(ROOT / "tests" / name, copy / "tests" / name)
    for name in ("__init__.py", "conftest.py"):
        shutil.copy(ROOT / "tests" / name, copy / "tests")
    return copy


@pytest.mark.check
@pytest.mark.parametrize("arguments", sorted({_PLANS, _SOLANA, *_OTHERS.values()}), ids=" ".join)
def test_the_tests_pass_with_every_check(tree: Path, arguments: tuple[str, ...]) -> None:
    assert passes(tree, arguments)


@pytest.mark.check
@pytest.mark.parametrize("patch", PATCHES, ids=NAMES)
def test_each_removed_check_is_found(tree: Path, patch: Path) -> None:
    assert apply(patch, tree) == ""
    try:
        plans = _SOLANA if patch.stem.startswith("solana") else _PLANS
        assert not passes(tree, _OTHERS.get(patch.stem, plans))
    finally:
        for file in {hunk.file for hunk in hunks(patch)}:
            shutil.copy(ROOT / file, tree / file)


def passes(tree: Path, arguments: tuple[str, ...]) -> bool:
    """Whether these tests of `tests/chain` pass in the copy."""
    # Without the other plugins and fixtures, of which these tests need none, each run takes half the time.
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "anyio", "-p", "no:cacheprovider", "--noconftest"]
    done = subprocess.run(
        [*command, "-k", "not trio", *arguments],
        cwd=tree / "tests" / "chain",
        # A module that is patched within a second of another patch must not be read from bytecode.
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout
    return done.returncode == 0
