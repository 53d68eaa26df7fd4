"""A copy of the package that a server and all its children run, whatever the environment says.

The vault is started with `-I`: it takes modules from its interpreter's own folders alone. So a copy comes with an
interpreter: a virtual environment of four small files, whose site folder names the copy first and then what the
interpreter at hand has.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]


def copy_package(folder: Path, source: Path = ROOT) -> Path:
    """The package and its prompts, with the bytecode they have, below `folder`."""
    tree = folder / "tree"
    for name in ("machines_mcp", "prompts"):
        # Times are kept, so the bytecode still fits and only what a patch touches is compiled.
        shutil.copytree(source / name, tree / name, ignore=shutil.ignore_patterns("*.db", "node_modules"))
    return tree


def interpreter(folder: Path, tree: Path) -> str:
    """A Python that finds `tree` before all else, in isolated mode too."""
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
