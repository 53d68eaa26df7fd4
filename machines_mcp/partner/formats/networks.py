"""Networks by their id in the API: which form their addresses have, and their chain ids."""

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
# Main and test networks, numbered as on chain. Solana has the numbers that the issuer gives it.
_CHAINS: dict[str, frozenset[int]] = {
    network: frozenset(chains)
    for ids, chains in (
        ("eth ethereum erc20 sepolia", (1, 11_155_111, 17_000, 560_048)),
        ("base", (8453, 84_532)),
        ("matic pol polygon", (137, 80_002)),
        ("arb arbitrum arbitrum-one", (42_161, 421_614)),
        ("op optimism", (10, 11_155_420)),
        ("avalanche-c avaxc", (43_114, 43_113)),
        ("bsc", (56, 97)),
        ("gnosis xdai", (100, 10_200)),
        ("celo", (42_220, 44_787, 11_142_220)),
        ("linea", (59_144, 59_141)),
        ("scroll", (534_352, 534_351)),
        ("zksync", (324, 300)),
        ("sol solana spl", (900, 901)),
    )
    for network in ids.split()
}
_KNOWN_CHAINS = frozenset().union(*_CHAINS.values())
_ENVIRONMENT = re.compile(r"[-_](?:mainnet|testnet|devnet|sepolia|amoy|fuji)$")


def family_of(network: str) -> Family | None:
    """Return the form of the network's addresses; None if this version does not know the network."""
    return _FAMILIES.get(_plain(network))


def may_have_chain(network: str, chain_id: int) -> bool:
    """Whether a network can have this chain id. A network that this version does not know can have any."""
    if (chains := _CHAINS.get(_plain(network))) is not None:
        return chain_id in chains
    family = family_of(network)
    return family is None or (family == "evm" and chain_id not in _KNOWN_CHAINS)


def _plain(network: str) -> str:
    return _ENVIRONMENT.sub("", network.lower())
