"""Typed client of the Machines Cash Partner API, independent of MCP.

Importing this package opens no connection. Each name is imported from its module on first access.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from machines_mcp.partner.client import PartnerClient as PartnerClient
    from machines_mcp.partner.errors import PartnerError as PartnerError
    from machines_mcp.partner.models.agreements import Agreement as Agreement
    from machines_mcp.partner.models.agreements import AgreementLink as AgreementLink
    from machines_mcp.partner.models.agreements import Agreements as Agreements
    from machines_mcp.partner.models.assets import Asset as Asset
    from machines_mcp.partner.models.assets import AssetList as AssetList
    from machines_mcp.partner.models.assets import Network as Network
    from machines_mcp.partner.models.balances import Balances as Balances
    from machines_mcp.partner.models.base import NextHint as NextHint
    from machines_mcp.partner.models.cards import Card as Card
    from machines_mcp.partner.models.cards import CardDeleted as CardDeleted
    from machines_mcp.partner.models.cards import CardLimit as CardLimit
    from machines_mcp.partner.models.cards import CardLimitSet as CardLimitSet
    from machines_mcp.partner.models.cards import CardPage as CardPage
    from machines_mcp.partner.models.cards import CardSecrets as CardSecrets
    from machines_mcp.partner.models.cards import CardStatus as CardStatus
    from machines_mcp.partner.models.cards import LimitFrequency as LimitFrequency
    from machines_mcp.partner.models.cards import Sealed as Sealed
    from machines_mcp.partner.models.cards import SecretsSession as SecretsSession
    from machines_mcp.partner.models.deposits import AmountCurrency as AmountCurrency
    from machines_mcp.partner.models.deposits import Deposit as Deposit
    from machines_mcp.partner.models.deposits import DepositEstimate as DepositEstimate
    from machines_mcp.partner.models.deposits import DepositList as DepositList
    from machines_mcp.partner.models.deposits import DepositRange as DepositRange
    from machines_mcp.partner.models.encryption import DataKey as DataKey
    from machines_mcp.partner.models.encryption import EncryptedField as EncryptedField
    from machines_mcp.partner.models.kyc import KycAddress as KycAddress
    from machines_mcp.partner.models.kyc import KycApplication as KycApplication
    from machines_mcp.partner.models.kyc import KycField as KycField
    from machines_mcp.partner.models.kyc import KycStatus as KycStatus
    from machines_mcp.partner.models.kyc import KycStatusValue as KycStatusValue
    from machines_mcp.partner.models.kyc import KycValues as KycValues
    from machines_mcp.partner.models.kyc import Occupation as Occupation
    from machines_mcp.partner.models.sessions import Session as Session
    from machines_mcp.partner.models.transactions import Transaction as Transaction
    from machines_mcp.partner.models.transactions import TransactionPage as TransactionPage
    from machines_mcp.partner.models.transactions import TransactionType as TransactionType
    from machines_mcp.partner.models.users import User as User
    from machines_mcp.partner.models.withdrawals import CallPath as CallPath
    from machines_mcp.partner.models.withdrawals import Execution as Execution
    from machines_mcp.partner.models.withdrawals import Relay as Relay
    from machines_mcp.partner.models.withdrawals import Withdrawal as Withdrawal
    from machines_mcp.partner.models.withdrawals import WithdrawalEstimate as WithdrawalEstimate
    from machines_mcp.partner.models.withdrawals import WithdrawalOrder as WithdrawalOrder
    from machines_mcp.partner.models.withdrawals import WithdrawalRange as WithdrawalRange
    from machines_mcp.partner.models.withdrawals import WithdrawalRoute as WithdrawalRoute
    from machines_mcp.partner.models.withdrawals import WithdrawalSignature as WithdrawalSignature
    from machines_mcp.partner.models.withdrawals import WithdrawalSource as WithdrawalSource
    from machines_mcp.partner.scopes import Scope as Scope

_HOMES = {
    "client": ("PartnerClient",),
    "errors": ("PartnerError",),
    "models.agreements": ("Agreement", "AgreementLink", "Agreements"),
    "models.assets": ("Asset", "AssetList", "Network"),
    "models.balances": ("Balances",),
    "models.base": ("NextHint",),
    "models.cards": (
        "Card",
        "CardDeleted",
        "CardLimit",
        "CardLimitSet",
        "CardPage",
        "CardSecrets",
        "CardStatus",
        "LimitFrequency",
        "Sealed",
        "SecretsSession",
    ),
    "models.deposits": ("AmountCurrency", "Deposit", "DepositEstimate", "DepositList", "DepositRange"),
    "models.encryption": ("DataKey", "EncryptedField"),
    "models.kyc": (
        "KycAddress",
        "KycApplication",
        "KycField",
        "KycStatus",
        "KycStatusValue",
        "KycValues",
        "Occupation",
    ),
    "models.sessions": ("Session",),
    "models.transactions": ("Transaction", "TransactionPage", "TransactionType"),
    "models.users": ("User",),
    "models.withdrawals": (
        "CallPath",
        "Execution",
        "Relay",
        "Withdrawal",
        "WithdrawalEstimate",
        "WithdrawalOrder",
        "WithdrawalRange",
        "WithdrawalRoute",
        "WithdrawalSignature",
        "WithdrawalSource",
    ),
    "scopes": ("Scope",),
}
_HOME_OF = {name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)
