"""The id of a request that is not valid JSON, so that the client's call ends with an error instead of waiting."""

from __future__ import annotations

import re
from itertools import islice

from pydantic_core import from_json

# A quote without an end is a token of its own, because the rest of the line can't be told apart then.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["{}\[\]:,]|[^\s"{}\[\]:,]++', re.DOTALL)
MAX_TOKENS = 50_000
_PLAIN_NUMBER = re.compile(rb"-?[0-9]{1,19}")
MAX_BYTES = 82


def request_id(line: bytes) -> int | str | None:
    """Return the id if the line begins like a JSON object with an id and a method, else None.

    Only the object's own members count, in the first 50,000 tokens. A response has no method: its id is of another
    request, and must not be answered.
    """
    found: dict[bytes, bytes] = {}
    depth, key, last = 0, b"", b""
    for match in islice(_TOKEN.finditer(line), MAX_TOKENS):
        token = match[0]
        if token == b'"' or (depth == 0 and token != b"{"):
            break
        if token in (b"{", b"["):
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and token == b":":
            key = last
        elif depth == 1 and key:
            found.setdefault(key, token)
            key = b""
        last = token
        if found.keys() >= {b'"id"', b'"method"'}:
            return _read(found[b'"id"']) if found[b'"method"'].startswith(b'"') else None
    return None


def _read(token: bytes) -> int | str | None:
    if _PLAIN_NUMBER.fullmatch(token):
        return int(token)
    if not token.startswith(b'"') or len(token) > MAX_BYTES:
        return None
    try:
        return str(from_json(token, cache_strings="none"))
    except ValueError:
        return None
