"""Update `server.json` and `manifest.json` from the code: `make docs`. A test fails if they drift."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from distribution import manifest, registry

FOLDER = Path(__file__).parent


def files() -> dict[Path, str]:
    """Return the content of both files."""
    return {
        FOLDER / "server.json": text(registry.entry()),
        FOLDER / "manifest.json": text(manifest.manifest()),
    }


def text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for file, content in files().items():
        file.write_text(content, encoding="utf-8")
