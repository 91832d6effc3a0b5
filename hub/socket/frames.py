"""Frames of a server, RFC 6455, section 5.2: unmasked, unfragmented, without extensions. Pure."""

from __future__ import annotations

from typing import Final

_TEXT: Final = 0x81  # FIN, and the opcode of a text frame.
PING: Final = b"\x89\x00"
"""A ping without payload; whatever answers it shows that the client is there (section 5.5.2)."""


def text_frame(payload: bytes) -> bytes:
    """One whole text message of UTF-8 bytes as they go over the wire."""
    size = len(payload)
    if size < 126:
        return bytes((_TEXT, size)) + payload
    if size < 65_536:
        return bytes((_TEXT, 126)) + size.to_bytes(2, "big") + payload
    return bytes((_TEXT, 127)) + size.to_bytes(8, "big") + payload
