"""Search a text for many secrets in dozens of forms each. The cost hardly grows with their number."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Hashable, Iterable, Set
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

_GRAM = 8
# Eight consecutive grams fit into a form of this length.
_LONG = 2 * _GRAM - 1
_GRAM_BITS = (1 << 8 * _GRAM) - 1
_SHIFTS = tuple(range(0, 8 * _GRAM, 8))
NEWEST = 16
"""How many owners are found with one cut of the text. Each takes eight times the memory of an older one."""


class SecretIndex(Generic[T]):
    """Finds whether a text contains a form of any owner: a byte string of at least eight bytes.

    The text is cut into grams of eight bytes. If one is a stored gram, `forms_of` computes that owner's forms again and
    the text is searched for them. Of the newest owners' long forms, eight consecutive grams are stored, so that one cut
    of the text meets one of them. Of all other forms only one is stored, because a server sees thousands of tokens an
    hour. For them, the text is cut at every byte.
    """

    def __init__(self, forms_of: Callable[[T], Iterable[bytes]]) -> None:
        self._forms_of = forms_of
        self._by_eight: dict[int, tuple[T, ...]] = {}
        self._by_one: dict[int, tuple[T, ...]] = {}
        # The owners whose long forms are in `_by_eight`, the oldest first.
        self._newest: dict[T, None] = {}

    def add(self, owner: T) -> None:
        """Start finding the owner's forms."""
        forms = set(self._forms_of(owner))
        long = {form for form in forms if len(form) >= _LONG}
        _store(self._by_eight, owner, _eight_grams(long))
        _store(self._by_one, owner, _one_gram(forms - long))
        self._newest[owner] = None
        if len(self._newest) > NEWEST:
            self._thin_out(next(iter(self._newest)))

    def remove(self, owner: T) -> None:
        """Stop finding the owner's forms."""
        forms = set(self._forms_of(owner))
        if owner in self._newest:
            del self._newest[owner]
            _drop(self._by_eight, owner, _eight_grams(form for form in forms if len(form) >= _LONG))
        _drop(self._by_one, owner, _one_gram(forms))

    def found_in(self, text: bytes) -> bool:
        """Whether the text contains any form."""
        return self._found(self._by_eight, text, range(1)) or self._found(self._by_one, text, range(_GRAM))

    def _thin_out(self, owner: T) -> None:
        """Store only one gram of each of the owner's forms from now on."""
        long = {form for form in self._forms_of(owner) if len(form) >= _LONG}
        _store(self._by_one, owner, _one_gram(long))
        _drop(self._by_eight, owner, _eight_grams(long))
        del self._newest[owner]

    def _found(self, owners: dict[int, tuple[T, ...]], text: bytes, starts: range) -> bool:
        known, view = owners.keys(), memoryview(text)
        for start in starts if owners else ():
            whole = (len(text) - start) // _GRAM * _GRAM
            if whole <= 0:
                break
            # As integers: a memoryview converts them all in one call.
            cuts = view[start : start + whole].cast("Q").tolist()
            if not known.isdisjoint(cuts) and self._is_in(text, [owners[gram] for gram in known & set(cuts)]):
                return True
        return False

    def _is_in(self, text: bytes, met: Iterable[tuple[T, ...]]) -> bool:
        return any(form in text for owners in met for owner in owners for form in self._forms_of(owner))


def _store(table: dict[int, tuple[T, ...]], owner: T, grams: Set[int]) -> None:
    alone = (owner,)
    if table.keys().isdisjoint(grams):
        table.update(dict.fromkeys(grams, alone))
        return
    for gram in grams:
        others = table.get(gram)
        table[gram] = alone if others is None else (*others, owner)


def _drop(table: dict[int, tuple[T, ...]], owner: T, grams: Set[int]) -> None:
    for gram in grams:
        others = table.pop(gram, ())
        if len(others) == 1 and others[0] is owner:
            continue
        left = tuple(other for other in others if other != owner)
        if left:
            table[gram] = left


def _one_gram(forms: Iterable[bytes]) -> set[int]:
    """Return a gram of each form."""
    return {_number(form, _place(form, _GRAM), _GRAM) for form in forms}


def _eight_grams(forms: Iterable[bytes]) -> set[int]:
    """Return eight consecutive grams of each form."""
    # Shifting the fifteen bytes of all eight takes a third of the time of cutting each out.
    stretches = [_number(form, _place(form, _LONG), _LONG) for form in forms]
    return {stretch >> shift & _GRAM_BITS for stretch in stretches for shift in _SHIFTS}


def _place(form: bytes, length: int) -> int:
    # The same place each time, but not the start: tokens share prefixes, and a shared gram costs extra searches.
    return zlib.crc32(form) % (len(form) - length + 1)


def _number(form: bytes, start: int, length: int) -> int:
    return int.from_bytes(form[start : start + length], sys.byteorder)
