"""Many needles in one haystack, at a cost that hardly grows with their number."""

from __future__ import annotations

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
        self._by_gram: dict[bytes, set[bytes]] = {}
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
        cuts = {text[at : at + _GRAM] for at in range(0, len(text), _STRIDE)}
        return any(needle in text for gram in self._by_gram.keys() & cuts for needle in self._by_gram[gram])


def _grams(needle: bytes) -> list[bytes]:
    return [needle[start : start + _GRAM] for start in range(_STRIDE)]
