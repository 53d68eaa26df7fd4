"""What the generators of the documents say, asked in a process of its own: they read `docs/` as their own folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def said_by(module: str, expression: str) -> Any:
    """The value of an expression, in which `p` is a module of `docs/`."""
    script = f"import sys, json; sys.path.insert(0, 'docs'); import {module} as p; print(json.dumps({expression}))"
    made = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    return json.loads(made.stdout)
