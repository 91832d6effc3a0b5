"""A proxy that connects to this machine, whatever the host's name is, and writes down what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.unit.executor.outside import accepting


class ForwardProxy:
    def __init__(self, wants: str | None = None, refuses: int | None = None) -> None:
        self.url = ""
        self.lines: list[str] = []
        self.heads: list[str] = []
        self._wants, self._refuses = wants, refuses

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        method, target, _ = head.split("\r\n")[0].split()
        self.lines.append(f"{method} {target}")
        if self._wants is not None and f"Proxy-Authorization: {self._wants}\r\n" not in head:
            await self._answer(writer, 407)
        elif self._refuses is not None:
            await self._answer(writer, self._refuses)
        else:
            await self._relay(method, target, head, reader, writer)

    async def _answer(self, writer: asyncio.StreamWriter, status: int) -> None:
        writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()

    async def _relay(
        self, method: str, target: str, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        at = target if method == "CONNECT" else target.split("/")[2]
        inside, outside = await asyncio.open_connection("127.0.0.1", int(at.rsplit(":", 1)[1]))
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = "/" + target.split("/", 3)[3]
                outside.write(head.replace(f"{method} {target}", f"{method} {path}", 1).encode())
            await asyncio.gather(_copy(reader, outside), _copy(inside, writer))
        finally:
            outside.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def proxying(wants: str | None = None, refuses: int | None = None) -> AsyncIterator[ForwardProxy]:
    proxy = ForwardProxy(wants, refuses)
    async with accepting(proxy) as port:
        proxy.url = f"http://127.0.0.1:{port}"
        yield proxy
