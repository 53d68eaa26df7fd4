"""The places where a revealed card can go."""

from __future__ import annotations

from typing import Literal

Sink = Literal["none", "page", "sealed", "model"]
