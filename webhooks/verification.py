"""For receivers: is this request from who it says, and from now? `from webhooks.verification import verify`, or copy
this file: it needs the standard library alone, and `cryptography` only where a public key is what you were given.

It follows Standard Webhooks (https://www.standardwebhooks.com), as a Runcast hub does.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any


class VerificationError(Exception):
    """Do not trust the request: answer 400 or 401, and do nothing else. It shows nothing of a secret."""


class BadHeader(VerificationError):
    """One of the three headers is missing, or makes no sense."""


class TimestampTooOld(VerificationError):
    """It was sent too long ago: perhaps somebody recorded it and plays it again. Or our clock is fast."""


class TimestampTooNew(VerificationError):
    """It says that it was sent in the future: our clock is slow."""


class NoSignatureMatches(VerificationError):
    """Another secret, or a body that is not byte for byte what was sent (parsed, perhaps, and written again)."""


def verify(
    body: bytes,
    headers: Mapping[str, str],
    secret: str | Sequence[str],
    *,
    tolerance_seconds: float = 300,
    now: float | None = None,
) -> Any:
    """The message, parsed, if it is genuine. Raises `VerificationError`, and `ValueError` for a secret that is none.

    `body` is what came in, before anything parses it. Header names may be in any case. `secret` is what the webhook
    was created with (`whsec_…` or any text), or its public key (`whpk_…`); several while you change from one to
    another, of which one has to match. `now` is Unix seconds, the time of day where it is left out.
    """
    given = {name.lower(): value for name, value in headers.items()}
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        if not given.get(name):
            raise BadHeader(f"the header {name} is missing")
    _check_time(given["webhook-timestamp"], tolerance_seconds, time.time() if now is None else now)
    head = f"{given['webhook-id']}.{given['webhook-timestamp']}."
    signed = head.encode(errors="surrogatepass") + body
    signatures = [each.partition(",")[::2] for each in given["webhook-signature"].split()]
    secrets = [secret] if isinstance(secret, str) else list(secret)
    found = [_matches(each, signed, signatures) for each in _checked(secrets)]
    if not any(found):
        raise NoSignatureMatches("no signature matches: another secret, or the body is not as it was sent")
    return json.loads(body)


def _check_time(written: str, tolerance: float, now: float) -> None:
    if not (written.isascii() and written.isdigit() and len(written) < 16):
        raise BadHeader("the header webhook-timestamp is not a number of seconds")
    age = now - int(written)
    if age > tolerance:
        raise TimestampTooOld(f"it was sent {age:.0f} seconds ago; {tolerance:g} are allowed")
    if age < -tolerance:
        raise TimestampTooNew(f"it was sent {-age:.0f} seconds in the future; {tolerance:g} are allowed")


def _checked(secrets: list[str]) -> list[str]:
    """An empty one would let anybody in: a setting that was forgotten must not."""
    if not secrets or any(not each.removeprefix("whsec_") for each in secrets):
        raise ValueError("the secret is empty")
    if any(each.startswith("whsk_") for each in secrets):
        raise ValueError("this is a private key, with which one signs; to verify, take its public key (whpk_…)")
    return secrets


def _matches(secret: str, signed: bytes, signatures: list[tuple[str, str]]) -> bool:
    """Is one of the signatures of the secret's own kind right? Other kinds do not count."""
    if secret.startswith("whpk_"):
        return _matches_public(_decoded(secret), signed, [each for version, each in signatures if version == "v1a"])
    key = _decoded(secret) if secret.startswith("whsec_") else secret.encode()
    expected = base64.b64encode(hmac.digest(key, signed, "sha256"))
    theirs = [each.encode(errors="surrogatepass") for version, each in signatures if version == "v1"]
    return any(hmac.compare_digest(expected, each) for each in theirs)


def _decoded(secret: str) -> bytes:
    prefix, _, key = secret.partition("_")
    try:
        return base64.b64decode(key, validate=True)
    except ValueError:
        raise ValueError(f"what follows {prefix}_ in the secret is not base64") from None


def _matches_public(key: bytes, signed: bytes, signatures: list[str]) -> bool:
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise ImportError("to verify with a public key (whpk_…), install the package 'cryptography'") from None
    public = Ed25519PublicKey.from_public_bytes(key)
    for signature in signatures:
        try:
            public.verify(base64.b64decode(signature, validate=True), signed)
        except (InvalidSignature, ValueError):
            continue
        return True
    return False
