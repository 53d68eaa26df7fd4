"""Many secrets in one haystack, each in dozens of forms, at a cost in time and memory that hardly grows with them."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

_GRAM = 8


class SecretIndex(Generic[T]):
    """Finds whether a text shows one of many owners' needles, which `needles_of` makes anew each time: byte strings of
    eight bytes or more.

    Of each needle one gram of eight bytes is kept and no more, for a server sees thousands of tokens an hour. A text is
    cut at every byte; only where a cut is such a gram are its owner's needles themselves looked for.
    """

    def __init__(self, needles_of: Callable[[T], Iterable[bytes]]) -> None:
        self._needles_of = needles_of
        self._locks: dict[int, tuple[T, ...]] = {}

    def add(self, owner: T) -> None:
        """From now on the owner's needles are found too."""
        alone = (owner,)
        for gram in self._grams(owner):
            others = self._locks.get(gram)
            self._locks[gram] = alone if others is None else (*others, owner)

    def remove(self, owner: T) -> None:
        """Undo `add`."""
        for gram in self._grams(owner):
            left = tuple(other for other in self._locks.pop(gram, ()) if other != owner)
            if left:
                self._locks[gram] = left

    def found_in(self, text: bytes) -> bool:
        """Whether one of them is in the text."""
        known, view = self._locks.keys(), memoryview(text)
        for start in range(_GRAM):
            whole = (len(text) - start) // _GRAM * _GRAM
            if whole <= 0:
                break
            # As numbers, of which a buffer makes many at once.
            cuts = view[start : start + whole].cast("Q").tolist()
            if not known.isdisjoint(cuts) and any(self._is_in(text, gram) for gram in known & set(cuts)):
                return True
        return False

    def _is_in(self, text: bytes, gram: int) -> bool:
        return any(needle in text for owner in self._locks[gram] for needle in self._needles_of(owner))

    def _grams(self, owner: T) -> set[int]:
        return {_gram(needle) for needle in self._needles_of(owner)}


def _gram(needle: bytes) -> int:
    # Anywhere in it, but always there: tokens begin alike, and who shared a gram would all be looked for.
    start = zlib.crc32(needle) % (len(needle) - _GRAM + 1)
    return int.from_bytes(needle[start : start + _GRAM], sys.byteorder)
