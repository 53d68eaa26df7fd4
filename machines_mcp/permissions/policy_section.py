"""What all tables of a policy file have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the file. Unknown keys are rejected, so a misspelled limit is not ignored. Types are never coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
