"""Search a text for many secrets in dozens of forms each. The cost hardly grows with their number."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

_GRAM = 8


class SecretIndex(Generic[T]):
    """Finds whether a text contains a form of any owner: a byte string of at least eight bytes.

    Only one eight-byte gram of each form is stored, because a server sees thousands of tokens an hour. The text is
    cut at every byte. If a cut is a stored gram, `forms_of` computes that owner's forms again and the text is
    searched for them.
    """

    def __init__(self, forms_of: Callable[[T], Iterable[bytes]]) -> None:
        self._forms_of = forms_of
        self._owners: dict[int, tuple[T, ...]] = {}

    def add(self, owner: T) -> None:
        """Start finding the owner's forms."""
        alone = (owner,)
        for gram in self._grams(owner):
            others = self._owners.get(gram)
            self._owners[gram] = alone if others is None else (*others, owner)

    def remove(self, owner: T) -> None:
        """Stop finding the owner's forms."""
        for gram in self._grams(owner):
            left = tuple(other for other in self._owners.pop(gram, ()) if other != owner)
            if left:
                self._owners[gram] = left

    def found_in(self, text: bytes) -> bool:
        """Whether the text contains any form."""
        known, view = self._owners.keys(), memoryview(text)
        for start in range(_GRAM):
            whole = (len(text) - start) // _GRAM * _GRAM
            if whole <= 0:
                break
            # As integers: a memoryview converts them all in one call.
            cuts = view[start : start + whole].cast("Q").tolist()
            if not known.isdisjoint(cuts) and any(self._is_in(text, gram) for gram in known & set(cuts)):
                return True
        return False

    def _is_in(self, text: bytes, gram: int) -> bool:
        return any(form in text for owner in self._owners[gram] for form in self._forms_of(owner))

    def _grams(self, owner: T) -> set[int]:
        return {_gram(form) for form in self._forms_of(owner)}


def _gram(form: bytes) -> int:
    # The same place each time, but not the start: tokens share prefixes, and a shared gram costs extra searches.
    start = zlib.crc32(form) % (len(form) - _GRAM + 1)
    return int.from_bytes(form[start : start + _GRAM], sys.byteorder)
