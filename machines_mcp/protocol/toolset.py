"""The groups of tools that an operator can select."""

from __future__ import annotations

from typing import Literal, get_args

Toolset = Literal["onboarding", "funding", "withdrawals", "cards", "observe", "always"]
TOOLSETS: tuple[str, ...] = tuple(name for name in get_args(Toolset) if name != "always")
"""The names that an operator can select. Tools of `always` can't be left out."""
