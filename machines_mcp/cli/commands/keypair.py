"""Commands for cards that are sealed to a key: keypair, unseal."""

from __future__ import annotations

from pathlib import Path

import click

from machines_mcp.cli.common import fail


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def keypair(file: Path) -> None:
    """Make a key pair that cards can be sealed to: the private key in FILE (0600), the public one in FILE.pub."""
    from machines_mcp.cli.sealed_cards import KeyPairError, new_key_pair

    try:
        click.echo(new_key_pair(file))
    except KeyPairError as error:
        fail(str(error))


@click.command()
@click.argument("keyfile", type=click.Path(path_type=Path))
@click.argument("sealed", metavar="[JWE|-]", default="-")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for a program: to a pipe or a file, too.")
def unseal(keyfile: Path, sealed: str, as_json: bool) -> None:
    """Open a sealed card (a JWE, or - for the one on stdin) with the private key in KEYFILE, and print it."""
    from machines_mcp.cli.sealed_cards import KeyPairError, card_text

    try:
        click.echo(card_text(keyfile, sealed, as_json=as_json))
    except KeyPairError as error:
        fail(str(error))
