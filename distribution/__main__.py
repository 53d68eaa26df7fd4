"""Write `server.json` and `manifest.json` as the code has them: `make docs`. A test fails when they have drifted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from distribution import manifest, registry

FOLDER = Path(__file__).parent


def files() -> dict[Path, str]:
    """What stands in each of the two files."""
    return {
        FOLDER / "server.json": text(registry.entry()),
        FOLDER / "manifest.json": text(manifest.manifest()),
    }


def text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for file, content in files().items():
        file.write_text(content, encoding="utf-8")
