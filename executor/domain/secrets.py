"""How a sealed secret looks in a text, so that it is never shown: `executor/sealing.py` makes and opens them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

REDACTED = "[REDACTED]"
SEALED_PREFIX = "sealed:v1:"
_SEALED_TEXT = re.compile(r"sealed:v1:[A-Za-z0-9_=-]+")
_SHORTEST_NUMBER = 4
_SEALED_BYTES = re.compile(rb"sealed:v1:[A-Za-z0-9_=-]+")


def sealed_texts(text: str) -> list[str]:
    """The sealed secrets that stand in a text."""
    return _SEALED_TEXT.findall(text) if SEALED_PREFIX in text else []


def redact(value: Any, opened: Iterable[str] = ()) -> Any:
    """The JSON value without sealed secrets, and without the `opened` ones wherever a text holds them, or a number of
    four digits or more is one. The longest first: one may begin with another."""
    return _redacted(value, sorted(filter(None, opened), key=len, reverse=True))


def _redacted(value: Any, opened: list[str]) -> Any:
    if isinstance(value, str):
        if SEALED_PREFIX in value:
            value = _SEALED_TEXT.sub(REDACTED, value)
        for secret in opened:
            value = value.replace(secret, REDACTED)
        return value
    if isinstance(value, dict):
        return {_redacted(key, opened): _redacted(inner, opened) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(inner, opened) for inner in value]
    if opened and isinstance(value, int | float) and not isinstance(value, bool):
        text = msgspec.json.encode(value).decode()
        return REDACTED if len(text) >= _SHORTEST_NUMBER and text in opened else value
    return value


def redact_json(data: bytes) -> bytes:
    """Encoded JSON without sealed secrets; the very same bytes where it has none."""
    return _SEALED_BYTES.sub(REDACTED.encode(), data) if b"sealed:v1:" in data else data
