"""Copy the package for a server and all its children, independent of the environment.

The vault starts with `-I`, so it imports only from its interpreter's own folders. Each copy therefore has its own
virtual environment of four small files. Its site folder lists the copy first, then the current interpreter's paths.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]


def copy_package(folder: Path, source: Path = ROOT) -> Path:
    """Copy the package and its prompts, including bytecode, below `folder`."""
    tree = folder / "tree"
    for name in ("machines_mcp", "prompts"):
        # Copying keeps the modification times, so only patched modules are compiled again.
        shutil.copytree(source / name, tree / name, ignore=shutil.ignore_patterns("*.db", "node_modules"))
    return tree


def interpreter(folder: Path, tree: Path) -> str:
    """Create a Python that imports from `tree` first, also in isolated mode."""
    place = folder / "venv"
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site = place / "lib" / version / "site-packages"
    site.mkdir(parents=True)
    (place / "bin").mkdir()
    base = Path(sys.base_prefix).resolve() / "bin" / version
    (place / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n", encoding="utf-8")
    (place / "bin" / "python").symlink_to(base)
    paths = [str(tree), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    (site / "copy.pth").write_text("\n".join(dict.fromkeys(paths)) + "\n", encoding="utf-8")
    return str(place / "bin" / "python")
