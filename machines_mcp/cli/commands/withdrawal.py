"""The command for a wallet's command line: withdrawal."""

from __future__ import annotations

import json
import sys

import click

from machines_mcp.cli.common import fail, load_settings, run
from machines_mcp.cli.screen import emit, say

_NO_EXTRA = (
    "This needs the extra chain or solana, which are not installed. In a checkout, run make chain; docs/withdrawal.md"
    " has the other ways."
)


@click.command()
@click.argument("withdrawal_id", metavar="ID")
@click.option("--signature", metavar="HEX", help="The wallet's signature of the typed data, as 0x and hex digits.")
@click.option("--nonce", metavar="NUMBER", help="adminNonce() of the collateral, if no node of the chain is set.")
@click.option("--json", "as_json", is_flag=True, help="Print the object that get_withdrawal_transaction returns.")
def withdrawal(withdrawal_id: str, signature: str | None, nonce: str | None, as_json: bool) -> None:
    """Print what the wallet signs, then what it sends.

    For the ready withdrawal with this ID. With --json, for a pipe into a wallet's own command. Exit code 1 if there is
    nothing to sign or send.
    """
    from machines_mcp.chain.extras import plans_evm, plans_solana
    from machines_mcp.cli.withdrawal import format_transaction, withdrawal_transaction

    if not plans_evm() and not plans_solana():
        fail(_NO_EXTRA)
    settings = load_settings()
    body, ok = run(lambda: withdrawal_transaction(settings, withdrawal_id, signature, nonce))
    if as_json:
        emit(json.dumps(body, ensure_ascii=False, indent=2))
    elif ok:
        say(format_transaction(body))
    else:
        accounts = "".join(f" {name}: {body[name]}." for name in ("signer", "recovered") if name in body)
        fields = "".join(f" {fault['field']} {fault['rule']}." for fault in body.get("fields", []))
        say(f"{body['message']}{accounts}{fields}", err=True)
    sys.exit(0 if ok else 1)
