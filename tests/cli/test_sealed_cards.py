"""Test `machines-mcp keypair` and `unseal`, for people and for programs."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwe
from joserfc.jwk import ECKey

from tests.support.card_numbers import card_number
from tests.support.waiting import PATIENCE

PAN = card_number()
CARD = {
    "pan": PAN,
    "cvc": "042",
    "card_id": "card-under-test",
    "expiration_month": 3,
    "expiration_year": 2031,
    "brand": "VISA",
}


def _run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "machines_mcp", *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, **options)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    assert _run("keypair", str(tmp_path / "key")).returncode == 0
    return tmp_path / "key"


@pytest.fixture
def sealed(key: Path) -> str:
    public = ECKey.import_key(json.loads(key.with_name("key.pub").read_text("ascii")))
    names = ["ECDH-ES+A256KW", "A256GCM"]
    return jwe.encrypt_compact({"alg": names[0], "enc": names[1]}, json.dumps(CARD).encode(), public, algorithms=names)


def test_keypair_prints_both_files_and_their_use(tmp_path: Path) -> None:
    done = _run("keypair", str(tmp_path / "key"))
    assert f"Private key: {tmp_path / 'key'} " in done.stdout
    assert "reveal.sealed_key" in done.stdout
    again = _run("keypair", str(tmp_path / "key"))
    assert (again.returncode, again.stdout) == (2, "")
    assert "not overwritten" in again.stderr


def test_a_card_is_not_printed_outside_a_terminal(key: Path, sealed: str) -> None:
    done = _run("unseal", str(key), sealed)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "The card is only printed to a terminal. For a program, add --json.\n"


@pytest.mark.parametrize("way", ["argument", "stdin", "dash"])
def test_unseal_prints_a_card_as_json(key: Path, sealed: str, way: str) -> None:
    given = {"argument": [sealed], "stdin": [], "dash": ["-"]}[way]
    done = _run("unseal", "--json", str(key), *given, input=sealed + "\n")
    assert (done.returncode, json.loads(done.stdout)) == (0, CARD)


def test_unseal_prints_a_card_at_a_terminal(key: Path, sealed: str) -> None:
    ours, theirs = pty.openpty()
    command = (sys.executable, "-m", "machines_mcp", "unseal", str(key))
    done = subprocess.run(command, input=sealed.encode(), stdout=theirs, timeout=PATIENCE, check=False)
    shown = os.read(ours, 4096).decode()
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 0
    assert "Number   " + " ".join(PAN[at : at + 4] for at in range(0, 16, 4)) in shown
    assert "Expires  03/2031" in shown
    assert "CVC      042" in shown


def test_a_card_that_cannot_be_unsealed_is_reported_in_one_sentence(key: Path, sealed: str) -> None:
    done = _run("unseal", "--json", str(key), sealed[:-4] + "AAAA")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
