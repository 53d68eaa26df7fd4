"""One user of the partner, as stored."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass


@dataclass(frozen=True)
class User:
    """A stored user. `agreements_at` is None until the agreements are accepted."""

    user_id: str
    created_at: float
    wallet_chain: str | None
    wallet_address: str | None
    kyc_status: str
    kyc_reason: str | None
    kyc_page: str | None
    agreements_at: float | None

    @classmethod
    def of(cls, row: sqlite3.Row) -> User:
        return cls(**{name: row[name] for name in cls.__dataclass_fields__})

    @property
    def wallet(self) -> dict[str, str] | None:
        if self.wallet_chain is None or self.wallet_address is None:
            return None
        return {"chain": self.wallet_chain, "address": self.wallet_address}
