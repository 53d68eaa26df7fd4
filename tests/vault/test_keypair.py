from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwe
from joserfc.jwk import ECKey

from machines_mcp.vault.jwe_sink import ALGORITHM, ENCRYPTION
from machines_mcp.vault.keypair import KeyPairError, make_key_pair, unseal
from machines_mcp.vault.public_key import read_recipient
from tests.support.card_numbers import card_number

CARD: dict[str, Any] = {
    "pan": card_number(),
    "cvc": "042",
    "card_id": "card-under-test",
    "expiration_month": 12,
    "expiration_year": 2031,
    "brand": "VISA",
}


def _seal(public: Path, content: Any, algorithm: str = ALGORITHM, encryption: str = ENCRYPTION) -> str:
    key = ECKey.import_key(json.loads(public.read_text("ascii")))
    key = ECKey.import_key({name: value for name, value in key.as_dict().items() if name not in ("alg", "use")})
    header = {"alg": algorithm, "enc": encryption}
    return jwe.encrypt_compact(header, json.dumps(content).encode(), key, algorithms=[algorithm, encryption])


def test_a_new_key_pair_seals_and_unseals_a_card(tmp_path: Path) -> None:
    public = make_key_pair(tmp_path / "key")
    assert public == tmp_path / "key.pub"
    assert read_recipient(public.read_bytes()).crv == "P-256"
    assert unseal(tmp_path / "key", _seal(public, CARD)).model_dump() == CARD


def test_the_private_key_is_owner_only_and_not_in_the_public_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        public = make_key_pair(tmp_path / "key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE(public.stat().st_mode) == 0o644
    private = json.loads((tmp_path / "key").read_text("ascii"))
    assert private["d"] not in public.read_text("ascii")
    assert private["kid"] == json.loads(public.read_text("ascii"))["kid"]


@pytest.mark.parametrize("there", ["key", "key.pub"])
@pytest.mark.parametrize("as_link", [False, True], ids=["file", "link"])
def test_existing_files_are_kept_and_no_partial_file_remains(tmp_path: Path, there: str, as_link: bool) -> None:
    if as_link:
        (tmp_path / there).symlink_to(tmp_path / "elsewhere")
    else:
        (tmp_path / there).write_text("old", "ascii")
    with pytest.raises(KeyPairError, match="was not overwritten"):
        make_key_pair(tmp_path / "key")
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert as_link or (tmp_path / there).read_text("ascii") == "old"


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(KeyPairError, match="can't be written there"):
        make_key_pair(tmp_path / "no" / "key")


def _altered(token: str, part: int) -> str:
    parts = token.split(".")
    parts[part] = ("A" if parts[part][0] != "A" else "B") + parts[part][1:]
    return ".".join(parts)


@pytest.mark.parametrize("part", range(5))
def test_an_altered_sealed_card_is_refused(tmp_path: Path, part: int) -> None:
    public = make_key_pair(tmp_path / "key")
    with pytest.raises(KeyPairError, match="can't decrypt it"):
        unseal(tmp_path / "key", _altered(_seal(public, CARD), part))


def test_another_private_key_is_refused(tmp_path: Path) -> None:
    make_key_pair(tmp_path / "one")
    public = make_key_pair(tmp_path / "other")
    with pytest.raises(KeyPairError, match="can't decrypt it"):
        unseal(tmp_path / "one", _seal(public, CARD))


@pytest.mark.parametrize(("algorithm", "encryption"), [("ECDH-ES", "A256GCM"), ("ECDH-ES+A256KW", "A128GCM")])
def test_other_jwe_algorithms_are_refused(tmp_path: Path, algorithm: str, encryption: str) -> None:
    public = make_key_pair(tmp_path / "key")
    with pytest.raises(KeyPairError, match="can't decrypt it"):
        unseal(tmp_path / "key", _seal(public, CARD, algorithm, encryption))


@pytest.mark.parametrize("token", ["", "a.b.c", "a.b.c.d.e.f", "a.b.c.d.é", "a." * 5000 + "e", "a.b.c.d.e\n"])
def test_text_that_is_not_a_jwe_is_reported(tmp_path: Path, token: str) -> None:
    make_key_pair(tmp_path / "key")
    with pytest.raises(KeyPairError, match="not a compact JWE"):
        unseal(tmp_path / "key", token)


@pytest.mark.parametrize(
    "content",
    [
        "text",
        [],
        {},
        CARD | {"pan": "4" * 20},
        CARD | {"pan": "\u001b[31m" + "4" * 16},
        CARD | {"cvc": "1"},
        CARD | {"brand": "Visa\n"},
        CARD | {"card_id": "../../etc"},
        CARD | {"expiration_month": 13},
    ],
)
def test_sealed_content_that_is_not_a_card_is_not_shown(tmp_path: Path, content: Any) -> None:
    public = make_key_pair(tmp_path / "key")
    with pytest.raises(KeyPairError, match="does not contain a card") as caught:
        unseal(tmp_path / "key", _seal(public, content))
    assert CARD["pan"] not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "can't be read"),
        ("", "does not contain a JWK"),
        ("[]", "does not contain a JWK"),
        ('{"kty":"EC"}', "does not contain a JWK"),
        ('{"kty":"RSA"}', "does not contain a JWK"),
    ],
)
def test_a_file_without_a_key_is_reported(tmp_path: Path, text: str | None, reason: str) -> None:
    if text is not None:
        (tmp_path / "key").write_text(text, "ascii")
    with pytest.raises(KeyPairError, match=reason):
        unseal(tmp_path / "key", "a.b.c.d.e")


def test_the_public_key_cannot_unseal(tmp_path: Path) -> None:
    public = make_key_pair(tmp_path / "key")
    with pytest.raises(KeyPairError, match="Use the private one"):
        unseal(public, _seal(public, CARD))
