"""A client of the socket that says what it likes, byte for byte (RFC 6455, section 5)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple, Protocol

from tests.unit.hub.socket.serving import TOKEN

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_MASK: Final = b"\x01\x02\x03\x04"
SAYING_PING: Final = b'{"type": "ping"}'
_HANDSHAKE: Final = (
    "GET {path} HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, is_masked: bool = True) -> bytes:
    """One of a client, or what some take for one."""
    size, bit = len(payload), 0x80 if is_masked else 0
    head = bytes((fin << 7 | reserved << 4 | opcode,))
    if size < 126:
        head += bytes((bit | size,))
    elif size < 65_536:
        head += struct.pack("!BH", bit | 126, size)
    else:
        head += struct.pack("!BQ", bit | 127, size)
    if not is_masked:
        return head + payload
    mask = int.from_bytes((_MASK * (size // 4 + 1))[:size], "big")
    return head + _MASK + (int.from_bytes(payload, "big") ^ mask).to_bytes(size, "big")


def text(type: str, id: str | None = None, **data: Any) -> bytes:
    return frame(TEXT, json.dumps({"type": type, "id": id, "data": data}).encode())


def closing(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


BROKEN: Final = {
    "unmasked": (frame(TEXT, SAYING_PING, is_masked=False), 1002),
    **{f"reserved bit {bit}": (frame(TEXT, SAYING_PING, reserved=bit), 1002) for bit in (1, 2, 4)},
    **{f"opcode {opcode}": (frame(opcode), 1002) for opcode in (0x3, 0x7, 0xB, 0xF)},
    "a long ping": (frame(PING, b"x" * 126), 1002),
    "a long close": (frame(CLOSE, struct.pack("!H", 1000) + b"x" * 124), 1002),
    "a ping in fragments": (frame(PING, b"x", fin=False), 1002),
    "a close in fragments": (frame(CLOSE, fin=False), 1002),
    "a continuation of nothing": (frame(CONT, SAYING_PING), 1002),
    "a text within a text": (frame(TEXT, b"{", fin=False) + frame(TEXT, SAYING_PING), 1002),
    "a close within a text": (frame(TEXT, b"{", fin=False) + closing(1000), 1002),
    "half a code": (frame(CLOSE, b"\x03"), 1002),
    **{f"the code {code}": (closing(code), 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000)},
    "a reason that is no text": (frame(CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
    "bytes that are no text": (frame(TEXT, b'{"type": "\xff"}'), 1007),
    "bytes that are no text, within others": (frame(TEXT, b"\xff") + frame(TEXT, SAYING_PING), 1007),
    "half a character": (frame(TEXT, b'"\xc3', fin=False) + frame(CONT, b'"'), 1007),
    "a surrogate": (frame(TEXT, b'"\xed\xa0\x80"'), 1007),
    "a binary message": (frame(BINARY, SAYING_PING), 4400),
    "a binary message in fragments": (frame(BINARY, b"\xff", fin=False) + frame(CONT, b"\xff"), 4400),
    "too much": (frame(TEXT, b"x" * 65_537), 1009),
    "too much in fragments": (frame(TEXT, b"x" * 40_000, fin=False) + frame(CONT, b"x" * 40_000, fin=False), 1009),
    "more than anybody has": (bytes((0x81, 0xFF)) + (2**62).to_bytes(8, "big"), 1009),
    "a length with a sign": (bytes((0x81, 0xFF)) + (2**63).to_bytes(8, "big"), 1009),
}
"""What is no frame of a client, and the code that it is closed with."""


class Door(Protocol):
    """Where a socket is served."""

    @property
    def url(self) -> str: ...


class Frame(NamedTuple):
    opcode: int
    payload: bytes

    @property
    def json(self) -> Any:
        assert self.opcode == TEXT, self
        return json.loads(self.payload)

    @property
    def code(self) -> int | None:
        assert self.opcode == CLOSE, self
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else None


class Wire:
    """A connection. What comes is checked to be frames of a server: whole, unmasked, of the shortest length."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._come = bytearray()

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(20):
            await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def hear(self) -> Frame:
        first, second = await self._take(2)
        assert first & 0xF0 == 0x80
        size = second
        if size == 126:
            size = int.from_bytes(await self._take(2), "big")
            assert size >= 126
        elif size == 127:
            size = int.from_bytes(await self._take(8), "big")
            assert size >= 65_536
        return Frame(first & 0x0F, await self._take(size))

    async def hear_close(self) -> int | None:
        """The code of the close, which is answered; what came before is passed over, and nothing may follow."""
        while (heard := await self.hear()).opcode != CLOSE:
            pass
        with contextlib.suppress(ConnectionError):
            await self.send(frame(CLOSE, heard.payload))
        await self.hear_end()
        return heard.code

    async def hear_end(self) -> None:
        with contextlib.suppress(ConnectionResetError):
            assert not await self._more(), bytes(self._come)

    async def welcomed(self) -> None:
        assert (await self.hear()).json["type"] == "welcome"

    async def subscribed(self, **data: Any) -> None:
        await self.send(text("subscribe", **data))
        assert (await self.hear()).json["type"] == "subscribed"

    async def take_head(self) -> str:
        """The answer of the handshake."""
        while b"\r\n\r\n" not in self._come:
            assert await self._more()
        head, _, rest = bytes(self._come).partition(b"\r\n\r\n")
        self._come = bytearray(rest)
        return head.decode()

    async def _take(self, size: int) -> bytes:
        while len(self._come) < size:
            assert await self._more(), "the connection ended"
        taken = bytes(self._come[:size])
        del self._come[:size]
        return taken

    async def _more(self) -> bool:
        async with asyncio.timeout(20):
            came = await asyncio.get_running_loop().sock_recv(self.sock, 65_536)
        self._come += came
        return bool(came)


@contextlib.asynccontextmanager
async def wired(
    hub: Door, token: str | None = TOKEN, *, behind: bytes = b"", buffer: int | None = None
) -> AsyncIterator[Wire]:
    """One whose handshake was accepted; `behind` comes in the same segment as its request."""
    address, _, path = hub.url.removeprefix("ws://").partition("/")
    host, port = address.split(":")
    with socket.socket() as sock:
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
        wire = Wire(sock)
        query = "" if token is None else f"?token={token}"
        await wire.send(_HANDSHAKE.format(path=f"/{path}{query}").encode() + behind)
        assert (await wire.take_head()).startswith("HTTP/1.1 101 ")
        yield wire
