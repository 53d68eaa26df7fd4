"""The library that encodes and decodes transactions. It takes half a second to import, so it loads at the first one."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any


@cache
def accounts() -> Any:
    """Return `eth_account.Account`.

    A library below it raises the limit of recursions to 100,000, at which deeply nested JSON overflows the stack.
    """
    limit = sys.getrecursionlimit()
    try:
        from eth_account import Account
    finally:
        sys.setrecursionlimit(limit)
    return Account
