"""The transaction of a signed withdrawal at a terminal, for a wallet's own command."""

from __future__ import annotations

from typing import Any

from machines_mcp.cli.call import call_once
from machines_mcp.protocol.errors import Code, ToolError
from machines_mcp.redaction.display import dollars
from machines_mcp.server.app import opened
from machines_mcp.server.settings import Settings
from machines_mcp.storage.withdrawals import Withdrawals

TOOL = "get_withdrawal_transaction"
_UNKNOWN = "The state folder has no withdrawal with this id. machines-mcp call list_withdrawals shows those of a user."
_SIGN = "Have the wallet {} sign typed_data (eth_signTypedData_v4), then run this again with --signature."
_SEND = "Have the wallet {} send it (eth_sendTransaction). Print it with --json."
_SOLANA = "Have the wallet {} sign and send transaction_base64 within a minute. Print it with --json."


async def withdrawal_transaction(
    settings: Settings, withdrawal_id: str, signature: str | None, nonce: str | None
) -> tuple[dict[str, Any], bool]:
    """Return what `get_withdrawal_transaction` returns for whichever user it is, and whether it succeeded.

    Raises:
        PolicyError: The policy file is invalid.
        StoreUnavailable: The state folder can't be used.
    """
    async with opened(settings) as app:
        started = await Withdrawals(app.store).find(withdrawal_id)
    if started is None:
        return ToolError(Code.NOT_FOUND, message=_UNKNOWN).payload(), False
    given = {"withdrawal_id": withdrawal_id, "admin_signature": signature, "admin_nonce": nonce}
    arguments = {name: value for name, value in given.items() if value is not None}
    if settings.user_id is None:
        arguments["user_id"] = started.quote.user_id
    body, ok = await call_once(settings, TOOL, arguments, approves_all=False)
    # The page ends with this process.
    body.pop("sign_at", None)
    return body, ok


def format_transaction(body: dict[str, Any]) -> str:
    """Return the withdrawal and what to do, as lines for a person."""
    call, sender = body.get("call") or {}, body.get("from", "")
    rows = [("Stage", body["stage"]), ("Chain", body.get("caip2") or body.get("chain_id"))]
    if call:
        rows += [
            ("Amount", f"{dollars(call['amount_cents'])} ({call['amount_base_units']} units of {call['token']})"),
            ("To", call["recipient"]),
            ("Pays out to", f"{call['pays_out_to']} ({call['currency']} on {call['network']})"),
        ]
    rows.append(("From", sender))
    if body["stage"] in ("sign", "send"):
        left = "{} min {} s left".format(*divmod(body["seconds_left"], 60))
        rows.append(("Expires", f"{body['expires_at']} ({left})"))
    rows += [("Checked", ", ".join(body["verified"])), ("Not checked", ", ".join(body["not_verified"]))]
    rows += [("Transaction", body.get("transaction_hash")), ("Block", body.get("block"))]
    lines = [f"{label + ':':<13}{value}" for label, value in rows if value]
    return "\n".join([*lines, *_what_to_do(body, sender)])


def _what_to_do(body: dict[str, Any], sender: str) -> list[str]:
    if body["stage"] == "sign":
        return ["", _SIGN.format(sender)]
    if body["stage"] != "send":
        return []
    return ["", (_SOLANA if "transaction_base64" in body else _SEND).format(sender)]
