"""The public keys of an endpoint as a JWK Set, with which anybody can verify what it is sent (RFC 7517, RFC 8037)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct

from webhooks.signing import WHPK

ALGORITHM: Final = "EdDSA"
CURVE: Final = "Ed25519"
KEY_TYPE: Final = "OKP"


class Jwk(Struct, frozen=True, kw_only=True):
    """`x` is the public key, `kid` its thumbprint (RFC 7638): the same key has the same id wherever it is shown."""

    kid: str
    x: str
    kty: str = KEY_TYPE
    crv: str = CURVE
    alg: str = ALGORITHM
    use: str = "sig"


class JwkSet(Struct, frozen=True, kw_only=True):
    keys: tuple[Jwk, ...]


def jwks(public_keys: Iterable[str]) -> JwkSet:
    """Of `whpk_…` texts, as `signing.public_key` makes them, in their order."""
    return JwkSet(keys=tuple(_jwk(key) for key in public_keys))


def _jwk(public_key: str) -> Jwk:
    x = _base64url(base64.b64decode(public_key.removeprefix(WHPK), validate=True))
    return Jwk(kid=_thumbprint(x), x=x)


def _thumbprint(x: str) -> str:
    """Over the required members in the order of their names, without spaces (RFC 7638, section 3)."""
    required = msgspec.json.encode({"crv": CURVE, "kty": KEY_TYPE, "x": x})
    return _base64url(hashlib.sha256(required).digest())


def _base64url(data: bytes) -> str:
    """Without padding, as in every JWK."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
