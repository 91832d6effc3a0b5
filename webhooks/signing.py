"""From the bytes of a body to the headers that prove where it came from.

Two signatures at once: Standard Webhooks (https://www.standardwebhooks.com, `webhook-*`), with which replays are
told by their timestamp, and the older `X-Webhook-Signature` over the body alone.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence

from webhooks.requests import WHSEC


def key_of(secret: str) -> bytes:
    """The signing key of Standard Webhooks: the base64 after `whsec_`, else the text's UTF-8."""
    if secret.startswith(WHSEC):
        try:
            return base64.b64decode(secret.removeprefix(WHSEC), validate=True)
        except (binascii.Error, ValueError):
            pass
    return secret.encode()


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`. `timestamp` is Unix seconds."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key_of(secret), signed, "sha256")).decode()


def body_signature(secret: str, body: bytes) -> str:
    """`sha256=` and hex of HMAC-SHA256 over the body; the key is the secret's whole text."""
    return "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()


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
    `secrets` begin with the newest, and while one replaces another both sign."""
    marked = {} if replay_id is None else {"X-Webhook-Replay": replay_id}
    return marked | {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signature(secret, message_id, timestamp, body) for secret in secrets),
        "X-Webhook-Signature": body_signature(secrets[0], body),
        "X-Webhook-Event": event,
        "X-Webhook-Delivery": delivery_id,
        "X-Webhook-Attempt": str(attempt),
    }
