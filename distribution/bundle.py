"""Pack the bundle for desktop clients: `make bundle`, or `python -m distribution.bundle`.

It holds this package as a wheel and a lock of everything the wheel needs, so that a client's `uv` installs what
`locks/runtime.txt` names and nothing else, each file by its hash.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from distribution.__main__ import text
from distribution.manifest import ENTRY_POINT, manifest
from machines_mcp import __version__

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "locks" / "runtime.txt"
PACKER = "npx --yes --package=@anthropic-ai/mcpb@2.1.2 mcpb"
SECONDS = 300
_PINNED = re.compile(r"^([a-z0-9][^\\#\s]*==[^\\]*?)\s*\\$", re.MULTILINE)
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
# The bundle must not name the package index of the builder's machine: it is private and may be unreachable elsewhere.
_INDEXES = ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX", "UV_FIND_LINKS", "UV_CONFIG_FILE", "UV_NO_INDEX")


class BundleError(Exception):
    """The bundle can't be made; the message says why and what to do."""


def stage(folder: Path, uv: str) -> None:
    """Put everything that is packed into the empty `folder`.

    Raises:
        BundleError: A program failed, or the index offers files that `locks/runtime.txt` does not know.
    """
    _run([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)], ROOT)
    (wheel,) = folder.glob("*.whl")
    shutil.copy(ROOT / "distribution" / "bundle" / ENTRY_POINT, folder)
    for name in ("LICENSE", "README.md"):
        shutil.copy(ROOT / name, folder)
    (folder / "manifest.json").write_text(text(manifest()), encoding="utf-8")
    (folder / "pyproject.toml").write_text(project(wheel.name, LOCK.read_text(encoding="utf-8")), encoding="utf-8")
    _run([uv, "lock", "--quiet", "--no-config"], folder, _without_indexes())
    check_lock((folder / "uv.lock").read_text(encoding="utf-8"), wheel.name)


def project(wheel: str, lock: str) -> str:
    """The bundle's pyproject.toml: this package as the wheel beside it, and for all else the versions of the lock."""
    pins = "".join(f'    "{pin}",\n' for pin in _PINNED.findall(lock))
    return f"""\
[project]
name = "machines-mcp-bundle"
version = "{__version__}"
requires-python = ">=3.11"
dependencies = ["machines-mcp"]

[tool.uv]
package = false
constraint-dependencies = [
{pins}]

[tool.uv.sources]
machines-mcp = {{ path = "{wheel}" }}
"""


def check_lock(made: str, wheel: str) -> None:
    """Check that every file except our own wheel has a hash that is in the repository's lock."""
    others = "\n".join(line for line in made.splitlines() if wheel not in line)
    unknown = set(_HASH.findall(others)) - set(_HASH.findall(LOCK.read_text(encoding="utf-8")))
    if unknown:
        raise BundleError(f"{len(unknown)} files are not in locks/runtime.txt; run make lock, and review what changed.")


def pack(folder: Path, into: Path, packer: Sequence[str]) -> Path:
    """Check the manifest and pack the folder; the bundle's path."""
    into.mkdir(exist_ok=True)
    bundle = into / f"machines-mcp-{__version__}.mcpb"
    _run([*packer, "validate", str(folder / "manifest.json")], folder)
    _run([*packer, "pack", str(folder), str(bundle)], folder)
    return bundle


def _without_indexes() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_INDEXES)}


def _run(command: Sequence[str], folder: Path, environment: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except OSError as error:
        raise BundleError(f"{command[0]} can't be run: {error.strerror}.") from None
    if done.returncode:
        raise BundleError(f"{shlex.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m distribution.bundle", description="Pack the bundle.")
    parser.add_argument("--into", type=Path, default=ROOT / "dist", help="the folder for the bundle (dist)")
    parser.add_argument("--uv", default="uv", help="the program that writes the lock (uv)")
    parser.add_argument("--packer", default=PACKER, help=f"the command that packs ({PACKER})")
    given = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="machines-bundle-") as folder:
            stage(Path(folder), given.uv)
            bundle = pack(Path(folder), given.into.absolute(), shlex.split(given.packer))
    except BundleError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{bundle}: {bundle.stat().st_size / 1024:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
