"""Update the registry entry, manifest, plugin and bill of materials: `make docs`. A test fails if they drift."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from distribution import manifest, plugin, registry, sbom

FOLDER = Path(__file__).parent


def files() -> dict[Path, str]:
    """Return the content of each generated file."""
    made = {
        "server.json": registry.entry(),
        "manifest.json": manifest.manifest(),
        "sbom.cdx.json": sbom.bom(),
        **plugin.files(),
    }
    return {FOLDER / path: found if isinstance(found, str) else text(found) for path, found in made.items()}


def text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for file, content in files().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
