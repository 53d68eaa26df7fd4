"""Commands for cards sealed to a public key: keypair, unseal."""

from __future__ import annotations

from pathlib import Path

import click

from machines_mcp.cli.common import fail
from machines_mcp.cli.screen import emit, say


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def keypair(file: Path) -> None:
    """Create a key pair for sealed cards. FILE gets the private key (mode 0600), FILE.pub the public key."""
    from machines_mcp.cli.sealed_cards import KeyPairError, new_key_pair

    try:
        say(new_key_pair(file))
    except KeyPairError as error:
        fail(str(error))


@click.command()
@click.argument("keyfile", type=click.Path(path_type=Path))
@click.argument("sealed", metavar="[JWE|-]", default="-")
@click.option("--json", "as_json", is_flag=True, help="Print JSON. Unlike text, it can go to a pipe or a file.")
def unseal(keyfile: Path, sealed: str, as_json: bool) -> None:
    """Decrypt and print a sealed card. Pass a JWE, or - to read it from stdin; KEYFILE is the private key."""
    from machines_mcp.cli.sealed_cards import KeyPairError, card_text

    try:
        (emit if as_json else say)(card_text(keyfile, sealed, as_json=as_json))
    except KeyPairError as error:
        fail(str(error))
