"""From the bytes of a body to the headers that prove where it came from.

Two signatures at once: Standard Webhooks (https://www.standardwebhooks.com, `webhook-*`), with which replays are
told by their timestamp, and the older `X-Webhook-Signature` over the body alone. What a secret begins with says how
it signs: `whsk_` is a private key (Ed25519, `v1a`), every other text a shared one (HMAC-SHA256, `v1`).
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

Signing = Literal["hmac", "ed25519"]

WHSEC: Final = "whsec_"
WHSK: Final = "whsk_"
WHPK: Final = "whpk_"

_SECRET_BYTES: Final = 32
_SEED_BYTES: Final = 32
_PAIR_BYTES: Final = 64
_BLOCK_BYTES: Final = 64
_MOST_LOADED: Final = 1024
"""To load a key takes as long as to sign with it."""


def new_secret(signing: Signing = "hmac") -> str:
    """The prefix of its kind and the base64 of 32 random bytes (Standard Webhooks): an Ed25519 seed is no more."""
    return (WHSK if signing == "ed25519" else WHSEC) + _base64(os.urandom(_SECRET_BYTES))


def is_signing_key(secret: str) -> bool:
    """Is it a private key: `whsk_` and the base64 of a seed, or of a seed and the public key that belongs to it?"""
    return _loaded(secret) is not None


def public_key(secret: str) -> str:
    """`whpk_` and base64 of what verifies what this private key signs. Raises `ValueError` for any other secret."""
    key = _loaded(secret)
    if key is None:
        raise ValueError("a shared secret has no public key")
    return WHPK + _base64(key.public_key().public_bytes_raw())


@lru_cache(_MOST_LOADED)
def key_of(secret: str) -> bytes:
    """The shared key of Standard Webhooks: the base64 after `whsec_`, else the text's UTF-8."""
    decoded = _decoded(secret, WHSEC)
    return secret.encode() if decoded is None else decoded


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Over `id.timestamp.body`: `v1,` and base64 of HMAC-SHA256, or with a private key `v1a,` and base64 of Ed25519.
    `timestamp` is Unix seconds."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    private = _loaded(secret)
    if private is not None:
        return "v1a," + _base64(private.sign(signed))
    return "v1," + _base64(_hmac(key_of(secret), signed))


def body_signature(secret: str, body: bytes) -> str:
    """`sha256=` and hex of HMAC-SHA256 over the body; the key is the secret's whole text."""
    return "sha256=" + _hmac(secret.encode(), body).hex()


def headers(
    *,
    message_id: str,
    delivery_id: str,
    event: str,
    attempt: int,
    timestamp: int,
    body: bytes,
    secrets: Sequence[str],
    replay_id: str | None = None,
) -> dict[str, str]:
    """The headers of one attempt. Receivers know repeats by `message_id`: it is the event's, but the delivery's in a
    replay, which they are to take although they had the event. `timestamp` is the attempt's, in Unix seconds;
    `secrets` begin with the newest, and while one replaces another both sign. `X-Webhook-Signature` is the newest
    shared secret's, and not there where there is none: what a private key signs, nobody could check by it."""
    shared = next((secret for secret in secrets if not is_signing_key(secret)), None)
    optional = {
        "X-Webhook-Replay": replay_id,
        "X-Webhook-Signature": None if shared is None else body_signature(shared, body),
    }
    return {name: value for name, value in optional.items() if value is not None} | {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signature(secret, message_id, timestamp, body) for secret in secrets),
        "X-Webhook-Event": event,
        "X-Webhook-Delivery": delivery_id,
        "X-Webhook-Attempt": str(attempt),
    }


def _hmac(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104) from the two digests that a key begins; to begin them takes longer than all the rest."""
    inner, outer = (begun.copy() for begun in _begun(key))
    inner.update(message)
    outer.update(inner.digest())
    return outer.digest()


@lru_cache(_MOST_LOADED)
def _begun(key: bytes) -> tuple[Hash, Hash]:
    block = (sha256(key).digest() if len(key) > _BLOCK_BYTES else key).ljust(_BLOCK_BYTES, b"\0")
    return sha256(bytes(byte ^ 0x36 for byte in block)), sha256(bytes(byte ^ 0x5C for byte in block))


def _loaded(secret: str) -> Ed25519PrivateKey | None:
    return _private_key(secret) if secret.startswith(WHSK) else None


@lru_cache(_MOST_LOADED)
def _private_key(secret: str) -> Ed25519PrivateKey | None:
    """Null for a text that only begins like a private key: it is a shared secret like any other text."""
    decoded = _decoded(secret, WHSK)
    if decoded is None or len(decoded) not in (_SEED_BYTES, _PAIR_BYTES):
        return None
    key = Ed25519PrivateKey.from_private_bytes(decoded[:_SEED_BYTES])
    return key if decoded[_SEED_BYTES:] in (b"", key.public_key().public_bytes_raw()) else None


def _decoded(text: str, prefix: str) -> bytes | None:
    if not text.startswith(prefix):
        return None
    try:
        return base64.b64decode(text.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        return None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
