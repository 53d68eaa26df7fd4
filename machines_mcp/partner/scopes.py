"""The scopes of session tokens, and those that each endpoint needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Scope = Literal[
    "users.read",
    "users.write",
    "kyc.read",
    "kyc.write",
    "cards.read",
    "cards.write",
    "cards.secrets.read",
    "encryption.read",
    "encryption.write",
    "deposits.read",
    "deposits.write",
    "transactions.read",
    "withdrawals.write",
]
SCOPES: frozenset[str] = frozenset(get_args(Scope))
CARD_SECRETS: Scope = "cards.secrets.read"


@dataclass(frozen=True, slots=True)
class RequiredScopes:
    """The scopes a call needs, and the sets to mint, in order, if no cached session has them."""

    scopes: frozenset[Scope]
    mint_options: tuple[frozenset[Scope], ...]

    @classmethod
    def of(cls, *scopes: Scope) -> RequiredScopes:
        """Require these scopes, and mint exactly this set."""
        return cls(frozenset(scopes), (frozenset(scopes),))


KYC_READ = RequiredScopes.of("kyc.read")
KYC_WRITE = RequiredScopes.of("kyc.write")
# No page of the docs names a scope for agreements; the guide reads and accepts them with its KYC session.
AGREEMENTS_READ = KYC_READ
AGREEMENTS_WRITE = RequiredScopes.of("kyc.read", "kyc.write")
DEPOSITS_READ = RequiredScopes.of("deposits.read")
DEPOSITS_WRITE = RequiredScopes.of("deposits.write")
# Any session works, but it needs at least one scope. Before KYC is approved, only the second set is granted.
BALANCES_READ = RequiredScopes(frozenset(), (frozenset({"deposits.read"}), frozenset({"kyc.read"})))
WITHDRAWALS_READ = DEPOSITS_READ
WITHDRAWALS_WRITE = RequiredScopes.of("withdrawals.write")
ENCRYPTION_READ = RequiredScopes.of("encryption.read")
ENCRYPTION_WRITE = RequiredScopes.of("encryption.write")
CARDS_READ = RequiredScopes.of("cards.read")
CARDS_WRITE = RequiredScopes.of("cards.write")
CARD_SECRETS_READ = RequiredScopes.of(CARD_SECRETS)
TRANSACTIONS_READ = RequiredScopes.of("transactions.read")
