"""Which of the package's extras are installed. Nothing is imported."""

from __future__ import annotations

import functools
from importlib.util import find_spec


@functools.cache
def plans_evm() -> bool:
    """Whether withdrawals on EVM chains can be planned: the extra `chain`."""
    return find_spec("eth_abi") is not None and find_spec("eth_keys") is not None


@functools.cache
def plans_solana() -> bool:
    """Whether withdrawals on Solana can be planned: the extra `solana`."""
    return find_spec("solders") is not None
