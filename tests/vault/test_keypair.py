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
from tests.vault.cards import card_number

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


def test_a_pair_is_made_that_a_card_can_be_sealed_to_and_read_with(tmp_path: Path) -> None:
    public = make_key_pair(tmp_path / "key")
    assert public == tmp_path / "key.pub"
    assert read_recipient(public.read_bytes()).crv == "P-256"
    assert unseal(tmp_path / "key", _seal(public, CARD)).model_dump() == CARD


def test_the_private_key_is_its_owners_alone_and_not_in_the_public_file(tmp_path: Path) -> None:
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
def test_nothing_is_overwritten_and_nothing_half_made_stays(tmp_path: Path, there: str, as_link: bool) -> None:
    if as_link:
        (tmp_path / there).symlink_to(tmp_path / "elsewhere")
    else:
        (tmp_path / there).write_text("old", "ascii")
    with pytest.raises(KeyPairError, match="was not overwritten"):
        make_key_pair(tmp_path / "key")
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert as_link or (tmp_path / there).read_text("ascii") == "old"


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(KeyPairError, match="can't be written there"):
        make_key_pair(tmp_path / "no" / "key")


def _spoilt(token: str, part: int) -> str:
    parts = token.split(".")
    parts[part] = ("A" if parts[part][0] != "A" else "B") + parts[part][1:]
    return ".".join(parts)


@pytest.mark.parametrize("part", range(5))
def test_a_sealed_card_that_was_altered_is_not_opened(tmp_path: Path, part: int) -> None:
    public = make_key_pair(tmp_path / "key")
    with pytest.raises(KeyPairError, match="can't decrypt it"):
        unseal(tmp_path / "key", _spoilt(_seal(public, CARD), part))


def test_another_key_does_not_open_it(tmp_path: Path) -> None:
    make_key_pair(tmp_path / "one")
    public = make_key_pair(tmp_path / "other")
    with pytest.raises(KeyPairError, match="can't decrypt it"):
        unseal(tmp_path / "one", _seal(public, CARD))


@pytest.mark.parametrize(("algorithm", "encryption"), [("ECDH-ES", "A256GCM"), ("ECDH-ES+A256KW", "A128GCM")])
def test_only_the_one_way_to_seal_is_taken(tmp_path: Path, algorithm: str, encryption: str) -> None:
    public = make_key_pair(tmp_path / "key")
    with pytest.raises(KeyPairError, match="can't decrypt it"):
        unseal(tmp_path / "key", _seal(public, CARD, algorithm, encryption))


@pytest.mark.parametrize("token", ["", "a.b.c", "a.b.c.d.e.f", "a.b.c.d.é", "a." * 5000 + "e", "a.b.c.d.e\n"])
def test_what_is_no_jwe_is_said(tmp_path: Path, token: str) -> None:
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
def test_what_was_sealed_and_is_no_card_is_not_shown(tmp_path: Path, content: Any) -> None:
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
def test_a_file_that_holds_no_key_is_said(tmp_path: Path, text: str | None, reason: str) -> None:
    if text is not None:
        (tmp_path / "key").write_text(text, "ascii")
    with pytest.raises(KeyPairError, match=reason):
        unseal(tmp_path / "key", "a.b.c.d.e")


def test_the_public_key_opens_nothing(tmp_path: Path) -> None:
    public = make_key_pair(tmp_path / "key")
    with pytest.raises(KeyPairError, match="Use the private one"):
        unseal(public, _seal(public, CARD))
