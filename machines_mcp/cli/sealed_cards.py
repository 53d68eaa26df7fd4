"""What the holder of the private key does at a terminal: make a key pair, and read a card that was sealed to it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from machines_mcp.vault.keypair import MAX_JWE_BYTES, OpenedCard, make_key_pair, unseal
from machines_mcp.vault.keypair import KeyPairError as KeyPairError


def new_key_pair(file: Path) -> str:
    """Make the pair and say where it is and what to do with it.

    Raises:
        KeyPairError: It can't be written, or something is there already.
    """
    public = make_key_pair(file)
    return (
        f"Private key: {file} (keep it where cards may be read, not beside the server)\n"
        f"Public key:  {public} (name it in the policy as reveal.sealed_key, and sealed in reveal.sinks)"
    )


def card_text(key_file: Path, sealed: str, *, as_json: bool) -> str:
    """The card in a JWE, or in the one on stdin for `-`, as a person or a program reads it.

    Raises:
        KeyPairError: It can't be opened, or stdout is neither a terminal nor meant for a program.
    """
    if not as_json and not sys.stdout.isatty():
        raise KeyPairError("The card is printed to a terminal only; for a program, say --json.")
    token = sys.stdin.read(MAX_JWE_BYTES + 1) if sealed == "-" else sealed
    card = unseal(key_file, token.strip())
    return json.dumps(card.model_dump()) if as_json else _lines(card)


def _lines(card: OpenedCard) -> str:
    rows = (
        ("Card", card.brand or "?"),
        ("Number", " ".join(card.pan[at : at + 4] for at in range(0, len(card.pan), 4))),
        ("Expires", f"{card.expiration_month:02}/{card.expiration_year}"),
        ("CVC", card.cvc),
        ("Card id", card.card_id),
    )
    return "\n".join(f"{label:<8} {value}" for label, value in rows)
