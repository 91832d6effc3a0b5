"""How a sealed secret looks in a text, so that it is never shown: `executor/sealing.py` makes and opens them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

REDACTED = "[REDACTED]"
SEALED_PREFIX = "sealed:v1:"
_SEALED_TEXT = re.compile(r"sealed:v1:[A-Za-z0-9_=-]+")
_SEALED_BYTES = re.compile(rb"sealed:v1:[A-Za-z0-9_=-]+")


def sealed_texts(text: str) -> list[str]:
    """The sealed secrets that stand in a text."""
    return _SEALED_TEXT.findall(text) if SEALED_PREFIX in text else []


def redact(value: Any, opened: Iterable[str] = ()) -> Any:
    """The JSON value without sealed secrets, and without the `opened` ones wherever a text holds them."""
    if isinstance(value, str):
        if SEALED_PREFIX in value:
            value = _SEALED_TEXT.sub(REDACTED, value)
        for secret in opened:
            value = value.replace(secret, REDACTED) if secret else value
        return value
    if isinstance(value, dict):
        return {redact(key, opened): redact(inner, opened) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact(inner, opened) for inner in value]
    return value


def redact_json(data: bytes) -> bytes:
    """Encoded JSON without sealed secrets; the very same bytes where it has none."""
    return _SEALED_BYTES.sub(REDACTED.encode(), data) if b"sealed:v1:" in data else data
