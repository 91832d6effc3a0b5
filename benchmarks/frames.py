"""WebSocket frames as a client sees them (RFC 6455, section 5), counted so cheaply that this is not what is measured.

A chunk of equal frames is counted without a look at each: its first and its last header stand where they would if all
were equal. Anything else in between would have moved the last one, so pings are found all the same.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

ROOM: Final = 256
"""Bytes that a buffer keeps free before what is read into it: the beginning of a frame from the chunk before."""
HANDSHAKE: Final = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: cnVuY2FzdCBiZW5jaG1hcg==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
)
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x1, 0x2, 0x8, 0x9, 0xA
_HEAD: Final = 4
"""Bytes of a header that are compared: of a message of 126 to 65,535 bytes, all of it."""


class ClosedByServer(Exception):
    """With what it said."""


def framed(payload: bytes, opcode: int = _TEXT) -> bytes:
    """A client's frame. It is masked with zeros, so the payload stays as it is."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size)
    return bytes([0x80 | opcode]) + length + bytes(4) + payload


def hello(text: str, is_binary: bool) -> bytes:
    return framed(text.encode(), _BINARY if is_binary else _TEXT)


class Frames:
    """What came on one connection: data frames and the bytes of their payloads, each counted from its header on.

    Nothing is under way where `left` and `carry` are empty.
    """

    __slots__ = ("_equal", "_head", "carry", "count", "left", "payload")

    def __init__(self) -> None:
        self.count = self.payload = 0
        self.left = 0
        """Bytes of the frame under way that are still to come."""
        self.carry = b""
        """The beginning of a frame that cannot be read yet."""
        self._equal, self._head = 1 << 30, b""

    def take(self, buffer: bytearray, end: int) -> list[bytes]:
        """Counts what was read into `buffer[ROOM:end]`; the payloads of pings, which want an answer. Raises
        `ClosedByServer`."""
        at = ROOM + self.left
        if self.carry:
            at = ROOM - len(self.carry)
            buffer[at:ROOM] = self.carry
            self.carry = b""
        if at >= end:
            self.left = at - end
            return []
        self.left = 0
        equal = (end - at) // self._equal
        if equal:
            after = at + equal * self._equal
            last = after - self._equal
            if buffer[last : last + _HEAD] == self._head == buffer[at : at + _HEAD]:
                self.count += equal
                self.payload += equal * (self._equal - _HEAD)
                if after == end:
                    return []
                at = after
        return self._walk(buffer, at, end)

    def _walk(self, buffer: bytearray, at: int, end: int) -> list[bytes]:
        """One frame after the other."""
        pings: list[bytes] = []
        while at < end:
            size, start = _sizes(buffer, at, end)
            opcode = buffer[at] & 0xF
            if start > end or (opcode >= _CLOSE and start + size > end):
                self.carry = bytes(buffer[at:end])
                break
            if opcode == _CLOSE:
                raise ClosedByServer(bytes(buffer[start + 2 : start + size]).decode() or "without a reason")
            if opcode == _PING:
                pings.append(bytes(buffer[start : start + size]))
            elif opcode != _PONG:
                self.count += 1
                self.payload += size
                if start - at == _HEAD:
                    self._equal, self._head = _HEAD + size, buffer[at:start]
            at = start + size
        self.left = max(0, at - end)
        return pings


def pong(payload: bytes) -> bytes:
    return framed(payload, _PONG)


def _sizes(buffer: bytes | bytearray, at: int, end: int) -> tuple[int, int]:
    """The bytes of a frame's payload, and where it starts: behind `end` where the header is not whole."""
    if end - at < 2:
        return 0, end + 1
    size = buffer[at + 1] & 0x7F
    if size < 126:
        return size, at + 2
    width = 2 if size == 126 else 8
    start = at + 2 + width
    return (int.from_bytes(buffer[at + 2 : start], "big"), start) if start <= end else (0, start)


def spans(stream: bytes) -> Iterator[tuple[int, int]]:
    """Where the frames of a stream begin and end; the end of one that is not whole lies behind the stream's."""
    at = 0
    while at < len(stream):
        size, start = _sizes(stream, at, len(stream))
        yield at, (at := start + size)


def payloads(stream: bytes) -> list[bytes]:
    """The payloads of the text frames of a stream that is whole; slow."""
    texts = []
    for at, end in spans(stream):
        if stream[at] & 0xF == _TEXT:
            size, start = _sizes(stream, at, end)
            texts.append(stream[start : start + size])
    return texts
