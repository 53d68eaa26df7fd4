from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey

from machines_mcp.vault.public_key import RecipientError, read_recipient, thumbprint

PRIVATE = dict(ECKey.generate_key("P-256", private=True).as_dict(private=True))
PUBLIC = {name: value for name, value in PRIVATE.items() if name != "d"}


@pytest.mark.parametrize(
    "key",
    [
        *(
            pytest.param(ECKey.generate_key(curve).as_dict(private=False), id=curve)
            for curve in ("P-256", "P-384", "P-521")
        ),
        pytest.param(OKPKey.generate_key("X25519").as_dict(private=False), id="X25519"),
    ],
)
def test_a_public_key_is_read_without_its_metadata(key: dict[str, Any]) -> None:
    found = read_recipient(json.dumps(key | {"kid": "one", "use": "enc", "alg": "ECDH-ES+A256KW"}))
    assert found.model_dump() == {name: key[name] for name in ("kty", "crv", "x", "y") if name in key}


@pytest.mark.parametrize(
    "key",
    [*(ECKey.generate_key(curve) for curve in ("P-256", "P-384", "P-521")), OKPKey.generate_key("X25519")],
    ids=("P-256", "P-384", "P-521", "X25519"),
)
def test_the_thumbprint_is_that_of_rfc_7638(key: ECKey | OKPKey) -> None:
    public = key.as_dict(private=False)
    assert thumbprint(json.dumps(public | {"kid": "one"})) == key.thumbprint()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (json.dumps(PRIVATE), "private key"),
        (json.dumps(PUBLIC | {"d": None}), "private key"),
        (json.dumps({"kty": "oct", "k": "c2VjcmV0"}), "private key"),
        ("-----BEGIN PUBLIC KEY-----", "not JSON"),
        ("[" * 4000, "not JSON"),
        ("[]", "not a single JWK"),
        (json.dumps({"keys": [PUBLIC]}), "not a public JWK"),
        (json.dumps({"kty": "RSA", "n": "AQAB", "e": "AQAB"}), "not a public JWK"),
        (json.dumps(PUBLIC | {"crv": "secp256k1"}), "not a public JWK"),
        (json.dumps(PUBLIC | {"kty": "OKP", "crv": "Ed25519"}), "not a public JWK"),
        (json.dumps(PUBLIC | {"x": "short"}), "not a public JWK"),
        (json.dumps(PUBLIC | {"x5u": "https://example.com"}), "not a public JWK"),
        (json.dumps(PUBLIC) + " " * 5000, "too long for a key"),
    ],
    # The keys differ in each process, but parallel test processes must agree on the ids.
    ids=lambda value: value if len(value) < 40 else "",
)
def test_any_other_text_is_refused_without_quoting_it(text: str, reason: str) -> None:
    with pytest.raises(RecipientError, match=reason) as caught:
        read_recipient(text)
    assert str(PRIVATE["d"]) not in str(caught.value)
    assert str(PRIVATE["x"]) not in str(caught.value)
