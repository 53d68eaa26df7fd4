"""Closed sets of words in the API, for models and tools. Importing this module is cheap."""

from __future__ import annotations

from typing import Literal

AmountCurrency = Literal["crypto", "usd"]
CardStatus = Literal["active", "locked", "canceled", "not_activated"]
DepositScope = Literal["active", "all"]
LimitFrequency = Literal[
    "perAuthorization", "per24HourPeriod", "per7DayPeriod", "per30DayPeriod", "perYearPeriod", "allTime"
]
TransactionType = Literal["spend", "collateral", "payment", "fee"]
