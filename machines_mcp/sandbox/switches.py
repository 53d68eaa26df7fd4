"""Switches of the simulator that the control sets."""

from __future__ import annotations


class Keys:
    """Whether keys are honored. The default is yes; the control can change it."""

    def __init__(self) -> None:
        self.honoured = True
