"""Many needles in one haystack, at a cost that hardly grows with their number."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable

_GRAM = 8
_STRIDE = 4


class Needles:
    """Finds whether a text holds one of many byte strings.

    Of each needle the first few grams are known. A text is cut at every fourth byte, so one of its cuts falls on one of
    them wherever the needle stands; only then is the needle itself looked for. What is too short for that is looked for
    outright.
    """

    def __init__(self) -> None:
        self._times: Counter[bytes] = Counter()
        self._by_gram: dict[int, set[bytes]] = {}
        self._short: set[bytes] = set()

    def add(self, needles: Iterable[bytes]) -> None:
        """From now on these are found too."""
        for needle in needles:
            self._times[needle] += 1
            if len(needle) < _GRAM + _STRIDE - 1:
                self._short.add(needle)
                continue
            for gram in _grams(needle):
                self._by_gram.setdefault(gram, set()).add(needle)

    def remove(self, needles: Iterable[bytes]) -> None:
        """Undo one `add` of each."""
        for needle in needles:
            self._times[needle] -= 1
            if self._times[needle] > 0:
                continue
            del self._times[needle]
            self._short.discard(needle)
            for gram in _grams(needle):
                known = self._by_gram.get(gram, set())
                known.discard(needle)
                if not known:
                    self._by_gram.pop(gram, None)

    def found_in(self, text: bytes) -> bool:
        """Whether one of them is in the text."""
        if any(needle in text for needle in self._short):
            return True
        return any(needle in text for gram in self._by_gram.keys() & _cuts(text) for needle in self._by_gram[gram])


def _cuts(text: bytes) -> set[int]:
    """The grams at every fourth byte. As numbers, of which a buffer makes many at once."""
    found: set[int] = set()
    for start in range(0, _GRAM, _STRIDE):
        whole = (len(text) - start) // _GRAM * _GRAM
        if whole > 0:
            found.update(memoryview(text)[start : start + whole].cast("Q"))
    return found


def _grams(needle: bytes) -> list[int]:
    return [int.from_bytes(needle[start : start + _GRAM], sys.byteorder) for start in range(_STRIDE)]
