"""Words and codes of the API, for models and tools. Importing this module is cheap."""

from __future__ import annotations

from typing import Literal

WalletChain = Literal["evm", "solana"]
AmountCurrency = Literal["crypto", "usd"]
CardStatus = Literal["active", "locked", "canceled", "not_activated"]
DepositScope = Literal["active", "all"]
LimitFrequency = Literal[
    "perAuthorization", "per24HourPeriod", "per7DayPeriod", "per30DayPeriod", "perYearPeriod", "allTime"
]
# What a response hands out and what a caller gives back follow the same rule. An id must fit in a path.
RECORD_ID = r"^[A-Za-z0-9._~-]{8,128}$"
CODE = r"^[A-Za-z0-9._:-]{1,64}$"
OCCUPATION_CODE = r"^[A-Za-z0-9.-]{1,20}$"
MAX_CURSOR = 1024
TransactionType = Literal["spend", "collateral", "payment", "fee"]
