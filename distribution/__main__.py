"""Update `server.json`, `manifest.json` and the plugin from the code: `make docs`. A test fails if they drift."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from distribution import manifest, plugin, registry

FOLDER = Path(__file__).parent


def files() -> dict[Path, str]:
    """Return the content of each generated file."""
    made = {"server.json": registry.entry(), "manifest.json": manifest.manifest(), **plugin.files()}
    return {FOLDER / path: found if isinstance(found, str) else text(found) for path, found in made.items()}


def text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for file, content in files().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
