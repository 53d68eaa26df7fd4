"""Assets for deposits and withdrawals: tickers, their networks, and where each settles."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from machines_mcp.sandbox.addresses import base58
from machines_mcp.sandbox.users import EVM_ADDRESS, SOLANA_ADDRESS

if TYPE_CHECKING:
    from machines_mcp.sandbox.fields import Fields


@dataclass(frozen=True)
class Network:
    """A chain. `family` selects the address format; with `memo`, a deposit needs an extra id besides its address."""

    id: str
    label: str
    family: str
    chain_id: int | None
    memo: bool = False


@dataclass(frozen=True)
class Pair:
    """A ticker on a network."""

    ticker: str
    network: Network

    @property
    def token_contract(self) -> str | None:
        """The token's address; None for a chain's native coin."""
        if (self.ticker, self.network.id) in _TOKENS:
            return _TOKENS[self.ticker, self.network.id]
        if self.ticker in _COINS:
            return None
        digest = hashlib.sha256(f"{self.ticker} on {self.network.id}".encode())
        return base58(digest.digest()) if self.network.family == "solana" else "0x" + digest.hexdigest()[:40]


NETWORKS: Final = {
    network.id: network
    for network in (
        Network("base", "Base Sepolia", "evm", 84_532),
        Network("ethereum", "Ethereum Sepolia", "evm", 11_155_111),
        Network("polygon", "Polygon Amoy", "evm", 80_002),
        Network("solana", "Solana Devnet", "solana", 901),
        Network("bitcoin", "Bitcoin Testnet", "bitcoin", None),
        Network("hbar", "Hedera Testnet", "hedera", None, memo=True),
        Network("ripple", "XRP Ledger Testnet", "ripple", None, memo=True),
        Network("stellar", "Stellar Testnet", "stellar", None, memo=True),
    )
}
_NAMES: Final = {
    "rusd": ("rUSD", ("base", "solana")),
    "usdc": ("USD Coin", ("base", "ethereum", "polygon", "solana")),
    "usdt": ("Tether", ("ethereum", "polygon")),
    "eth": ("Ether", ("ethereum", "base")),
    "btc": ("Bitcoin", ("bitcoin",)),
    "sol": ("Solana", ("solana",)),
    "pol": ("Polygon", ("polygon",)),
    "hbar": ("Hedera", ("hbar",)),
    "xrp": ("XRP", ("ripple",)),
    "xlm": ("Stellar Lumens", ("stellar",)),
}
_COINS: Final = frozenset({"eth", "btc", "sol", "pol", "hbar", "xrp", "xlm"})
_TOKENS: Final = {
    ("rusd", "base"): "0x10b5Be494C2962A7B318aFB63f0Ee30b959D000b",
    ("rusd", "solana"): "CcuoBwMZJgupcdx81m3vYqBongw2PhhZ4yiYA2jo3K5",
}
# The assets that collateral contracts hold. Others are exchanged to or from that of the default contract.
SETTLED: Final = (Pair("rusd", NETWORKS["base"]), Pair("usdc", NETWORKS["ethereum"]), Pair("rusd", NETWORKS["solana"]))


def listing(fields: Fields, name: str | None = None) -> list[dict[str, Any]]:
    """Return the catalog as `data.assets`, searched by `q` in ticker and name, at most `limit` entries.

    `name` replaces the name of every asset.
    """
    wanted = (fields.optional_text("q", most=120) or "").lower()
    limit = fields.optional_integer("limit", least=1, most=200)
    found = [ticker for ticker, (known, _) in _NAMES.items() if wanted in ticker or wanted in known.lower()]
    return [_view(ticker) | ({"name": name} if name else {}) for ticker in found[:limit]]


def label(ticker: str, network_id: str) -> str:
    """Return an asset and its network as a person writes them, such as "XRP on XRP Ledger Testnet"."""
    return f"{symbol(ticker)} on {NETWORKS[network_id].label}"


def symbol(ticker: str) -> str:
    """Return an asset's ticker as people write it."""
    return "rUSD" if ticker == "rusd" else ticker.upper()


def _view(ticker: str) -> dict[str, Any]:
    name, ids = _NAMES[ticker]
    networks = [Pair(ticker, NETWORKS[network_id]) for network_id in ids]
    return {
        "ticker": ticker,
        "name": name,
        "icon": None,
        "networks": [
            {
                "id": pair.network.id,
                "label": pair.network.label,
                "chainId": pair.network.chain_id,
                "tokenContract": pair.token_contract,
                "supportsExtraId": pair.network.memo,
            }
            for pair in networks
        ],
    }


def pair_of(fields: Fields) -> Pair:
    """Return the `currency` and `network` of a request.

    Raises:
        Refusal: 400; `chain_not_supported` if the network is unknown or does not carry the currency.
    """
    ticker = fields.text("currency", most=40).lower()
    network_id = fields.text("network", most=40).lower()
    if ticker not in _NAMES:
        fields.refuse("currency", "must be a listed asset")
    if network_id not in _NAMES[ticker][1]:
        fields.refuse("network", "must be a network of this asset", code="chain_not_supported")
    return Pair(ticker, NETWORKS[network_id])


def address_pattern(network: Network) -> str:
    """Return the pattern of destination addresses on the network; loose for families that are not modeled."""
    return {"evm": EVM_ADDRESS, "solana": SOLANA_ADDRESS}.get(network.family, r"[!-~]{4,128}")
