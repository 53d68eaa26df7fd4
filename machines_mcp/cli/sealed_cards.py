"""Make a key pair and read cards sealed to it, at the private key holder's terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from machines_mcp.vault.keypair import MAX_JWE_BYTES, UnsealedCard, make_key_pair, unseal
from machines_mcp.vault.keypair import KeyPairError as KeyPairError


def new_key_pair(file: Path) -> str:
    """Make a key pair and return a message that says where it is and how to use it.

    Raises:
        KeyPairError: It can't be written, or the file exists.
    """
    public = make_key_pair(file)
    return (
        f"Private key: {file} (keep it where cards may be read, not on the server)\n"
        f"Public key:  {public} (set reveal.sealed_key to it in the policy, and add sealed to reveal.sinks)"
    )


def card_text(key_file: Path, sealed: str, *, as_json: bool) -> str:
    """Decrypt the card in a JWE (from stdin if `-`) and return it as text or JSON.

    Raises:
        KeyPairError: It can't be decrypted, or text was requested and stdout is not a terminal.
    """
    if not as_json and not sys.stdout.isatty():
        raise KeyPairError("The card is only printed to a terminal. For a program, add --json.")
    token = sys.stdin.read(MAX_JWE_BYTES + 1) if sealed == "-" else sealed
    card = unseal(key_file, token.strip())
    return json.dumps(card.model_dump()) if as_json else _lines(card)


def _lines(card: UnsealedCard) -> str:
    rows = (
        ("Card", card.brand or "?"),
        ("Number", " ".join(card.pan[at : at + 4] for at in range(0, len(card.pan), 4))),
        ("Expires", f"{card.expiration_month:02}/{card.expiration_year}"),
        ("CVC", card.cvc),
        ("Card id", card.card_id),
    )
    return "\n".join(f"{label:<8} {value}" for label, value in rows)
