"""The operations of the Partner API with their preconditions, in the order of its guide."""

from __future__ import annotations

from typing import Final

from machines_mcp.sandbox import (
    agreements,
    card_secrets,
    cards,
    deposits,
    kyc,
    labels,
    ledger,
    sessions,
    users,
    withdrawals,
)
from machines_mcp.sandbox.preconditions import Operation

OPERATIONS: Final = (
    Operation("POST", "/sessions", sessions.create, partner=True),
    Operation("POST", "/users/resolve", users.resolve, partner=True),
    Operation("GET", "/kyc/values", kyc.values, scope="kyc.read"),
    Operation("POST", "/kyc/applications", kyc.submit, scope="kyc.write"),
    Operation("GET", "/kyc/status", kyc.status, scope="kyc.read"),
    Operation("GET", "/agreements", agreements.read, kyc=True),
    Operation("POST", "/agreements", agreements.accept, kyc=True),
    Operation("GET", "/deposits/assets", deposits.list_assets),
    Operation("POST", "/deposits/range", deposits.read_range),
    Operation("POST", "/deposits/estimate", deposits.estimate),
    Operation("POST", "/deposits", deposits.create, kyc=True, agreements=True),
    Operation("GET", "/deposits", deposits.list_all),
    Operation("GET", "/deposits/{depositId}", deposits.read),
    Operation("GET", "/balances", ledger.balances),
    Operation("GET", "/withdrawals/assets", withdrawals.list_assets, scope="deposits.read"),
    Operation("POST", "/withdrawals/range", withdrawals.read_range, scope="deposits.read"),
    Operation("POST", "/withdrawals/estimate", withdrawals.estimate, scope="deposits.read"),
    Operation("POST", "/withdrawals", withdrawals.create, scope="withdrawals.write", kyc=True, agreements=True),
    Operation("POST", "/encryption/encrypt", labels.encrypt, scope="encryption.write"),
    Operation("POST", "/encryption/decrypt", labels.decrypt, scope="encryption.read"),
    Operation("GET", "/encryption/data-key", labels.read_data_key, scope="encryption.read"),
    Operation("POST", "/cards", cards.create, scope="cards.write", kyc=True, agreements=True),
    Operation("GET", "/cards", cards.list_all, scope="cards.read"),
    Operation("GET", "/cards/{cardId}", cards.read, scope="cards.read"),
    Operation("PATCH", "/cards/{cardId}", cards.update, scope="cards.write"),
    Operation("DELETE", "/cards/{cardId}", cards.delete, scope="cards.write"),
    Operation("POST", "/cards/secrets/session", card_secrets.open_session, scope="cards.secrets.read"),
    Operation("POST", "/cards/{cardId}/secrets", card_secrets.read, scope="cards.secrets.read"),
    Operation("GET", "/transactions", ledger.transactions, scope="transactions.read"),
)
