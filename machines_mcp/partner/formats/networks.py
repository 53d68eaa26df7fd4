"""Networks by their id in the API: which form their addresses have."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

Family: TypeAlias = Literal[
    "evm", "solana", "bitcoin", "litecoin", "dogecoin", "bitcoin_cash", "tron", "ripple", "stellar", "ton", "hedera"
]

# Ids of the API and its simulator, of the exchange behind it, and their usual synonyms. Ids that name several chains,
# such as `bnb` and `avax`, are left out.
_IDS: dict[Family, str] = {
    "evm": (
        "abstract arb arbitrum arbitrum-one avalanche-c avaxc base berachain blast bsc celo cchain erc20 etc eth"
        " ethereum fantom ftm gnosis ink linea manta mantle matic mode monad moonbeam op opbnb optimism pol polygon"
        " scroll sepolia sonic taiko unichain worldchain xdai zksync zora"
    ),
    "solana": "sol solana spl",
    "bitcoin": "bitcoin btc",
    "litecoin": "litecoin ltc",
    "dogecoin": "doge dogecoin",
    "bitcoin_cash": "bch bitcoin-cash bitcoincash",
    "tron": "trc20 tron trx",
    "ripple": "ripple xrp",
    "stellar": "stellar xlm",
    "ton": "ton toncoin",
    "hedera": "hbar hedera",
}
_FAMILIES = {network: family for family, ids in _IDS.items() for network in ids.split()}
_ENVIRONMENT = re.compile(r"[-_](?:mainnet|testnet|devnet|sepolia|amoy|fuji)$")


def family_of(network: str) -> Family | None:
    """Return the form of the network's addresses; None if this version does not know the network."""
    return _FAMILIES.get(_ENVIRONMENT.sub("", network.lower()))
