"""What is recorded of a run, beside its figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.injection import corpora
from evals.task import tasks

RECORD = Path(__file__).parents[1] / "docs" / "evals.json"


def contents(sums: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures with the corpora and tasks that they are about."""
    known = [{"name": one.name, "licence": one.licence, "texts": len(one.injection)} for one in corpora()]
    topics = list(dict.fromkeys(task.topic for task in tasks().task))
    return {"agents": sums, "corpora": known, "tasks": len(tasks().task), "topics": topics}
