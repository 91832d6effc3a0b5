from __future__ import annotations

import base64

import msgspec

from webhooks.jwks import jwks


def test_a_public_key_is_shown_as_the_standards_own_example() -> None:
    """RFC 8037, appendices A.2 and A.3: a public key and its thumbprint."""
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    given = "whpk_" + base64.b64encode(base64.urlsafe_b64decode(x + "=")).decode()
    assert msgspec.json.decode(msgspec.json.encode(jwks([given]))) == {
        "keys": [
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "x": x,
                "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
                "use": "sig",
                "alg": "EdDSA",
            }
        ]
    }


def test_during_a_rotation_there_are_two_in_their_order_and_without_keys_none() -> None:
    first, second = ("whpk_" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
    one, two = jwks([first, second]).keys
    assert jwks([first]).keys == (one,)
    assert jwks([second]).keys == (two,)
    assert jwks([]).keys == ()
