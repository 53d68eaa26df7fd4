"""The Dockerfile, without Docker: its guarantees, and its build stage run step by step in a folder.

No test builds the image itself; docs/distribution.md says so.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.distribution.dockerfile import Instruction, in_context, stages

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "distribution" / "Dockerfile").read_text(encoding="utf-8")
IGNORE = (ROOT / "distribution" / "Dockerfile.dockerignore").read_text(encoding="utf-8")
BUILD, IMAGE = stages(DOCKERFILE)
STEP_SECONDS = 300


def _instructions(stage: list[Instruction], word: str) -> list[Instruction]:
    return [step for step in stage if step.word == word]


def _copies() -> list[str]:
    """Return what is copied out of the build context."""
    return [source for step in _instructions(BUILD, "COPY") for source in step.words[:-1]]


@pytest.mark.parametrize("source", _copies())
def test_copied_files_exist_and_are_in_the_context(source: str) -> None:
    assert (ROOT / source).exists()
    assert in_context(IGNORE, source)


@pytest.mark.parametrize(
    "path", [".git/config", ".venv/bin/python", "tests/conftest.py", "machines_mcp/__pycache__/x.pyc"]
)
def test_other_files_are_not_in_the_context(path: str) -> None:
    assert not in_context(IGNORE, path)


def test_every_install_is_hashed_or_offline() -> None:
    installs = [step.rest for step in _instructions(BUILD, "RUN") if "pip install" in step.rest]
    assert len(installs) == 2
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)
    assert not re.search(r"://|index-url|trusted-host", DOCKERFILE)


def test_image_runs_as_an_unprivileged_user_with_its_own_folder() -> None:
    (user,) = _instructions(IMAGE, "USER")
    (made,) = _instructions(IMAGE, "RUN")
    assert user.words == ["machines"]
    assert "--uid 10001" in made.rest
    assert "install -d -o machines -g machines -m 0700 /state" in made.rest
    (volume,) = _instructions(IMAGE, "VOLUME")
    (settings,) = _instructions(IMAGE, "ENV")
    assert volume.words == ["/state"]
    assert "MACHINES_STATE_DIR=/state" in settings.words
    # The user is set after the last step that needs root and before any command that runs.
    words = [step.word for step in IMAGE]
    assert words.index("RUN") < words.index("USER") < words.index("ENTRYPOINT")


def test_server_receives_signals_directly_and_callers_arguments() -> None:
    (entry,) = _instructions(IMAGE, "ENTRYPOINT")
    assert entry.rest.startswith("[")
    assert entry.words == ["machines-mcp"]
    assert not _instructions(IMAGE, "CMD")


def test_both_stages_use_one_supported_python() -> None:
    (build,), (image,) = _instructions(BUILD, "FROM"), _instructions(IMAGE, "FROM")
    assert build.words[0] == image.words[0]
    version = re.fullmatch(r"python:3\.(\d+)-slim", image.words[0])
    assert version
    assert f'"Programming Language :: Python :: 3.{version[1]}"' in (ROOT / "pyproject.toml").read_text(
        encoding="utf-8"
    )


def _run_build_stage(folder: Path) -> Path:
    """Run the build stage with `folder` as the root of the file system, and return its /app."""
    place: Path = folder
    for step in BUILD:
        moved = re.sub(r"(?<![\w.-])/(app|src)\b", rf"{folder}/\1", step.rest)
        match step.word:
            case "WORKDIR":
                place = Path(moved)
                place.mkdir()
            case "COPY":
                *sources, into = moved.split()
                _copy(sources, place / into, into.endswith("/"))
            case "RUN":
                _run(re.sub(r"^python\b", sys.executable, moved), place)
    return folder / "app"


def _copy(sources: list[str], into: Path, is_folder: bool) -> None:
    for source in map(Path, sources):
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, into, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target = into / source.name if is_folder else into
            target.parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / source, target)


def _run(line: str, folder: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", line], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=STEP_SECONDS
    )
    assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


@pytest.mark.check
@pytest.mark.skipif(sys.platform == "win32", reason="the build steps need a POSIX shell")
def test_build_stage_makes_a_server_that_runs_without_the_checkout(tmp_path: Path) -> None:
    app = _run_build_stage(tmp_path)
    shutil.rmtree(tmp_path / "src")
    (entry,) = _instructions(IMAGE, "ENTRYPOINT")
    state, home = tmp_path / "state", tmp_path / "home"
    state.mkdir(mode=0o700)
    home.mkdir()
    environment = {"PATH": f"{app / 'bin'}:{os.defpath}", "HOME": str(home), "MACHINES_STATE_DIR": str(state)}

    called = subprocess.run(
        [str(app / "bin" / entry.words[0]), "call", "create_session", '{"user_id": "user-1", "purpose": "kyc"}'],
        cwd=home,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=STEP_SECONDS,
    )

    assert called.returncode == 0, called.stderr[-2000:]
    assert json.loads(called.stdout)["simulated"] is True
    assert list(state.iterdir())
