"""A proxy in front of a PostgreSQL socket that cuts a connection, or freezes its client, at the worst moment."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

_SOCKET = ".s.PGSQL.5432"
_SENT_ALONE = (b"Q", b"S", b"H", b"X", b"d", b"c")
"""Query, Sync, Flush, Terminate, CopyData, CopyDone."""


class Proxy:
    """`url` is the server's database through the proxy."""

    def __init__(self, url: str, server: Path, directory: Path) -> None:
        self._server, self._directory = server, directory
        self.url = url.replace(str(server), str(directory))
        self.cuts = 0
        self._armed: bytes | None = None
        self._left: int | None = None
        self._frozen = asyncio.Event()
        self._thawed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def cut_after(self, statement: bytes) -> None:
        """The next connection that says this is cut once the server has answered; the answer is swallowed."""
        self._armed = statement

    @contextlib.asynccontextmanager
    async def frozen_after(self, messages: int) -> AsyncIterator[asyncio.Event]:
        """From so many more messages of clients on none goes through, as if their process stood still; the event says
        that it has come to that. At the end of the block their connections are cut."""
        self._left, self._frozen, self._thawed = messages, asyncio.Event(), asyncio.Event()
        try:
            yield self._frozen
        finally:
            self._left = None
            self._thawed.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._server / _SOCKET)
        doomed = asyncio.Event()
        pumps = [
            asyncio.create_task(self._outward(reader, back, doomed)),
            asyncio.create_task(self._inward(there, writer, doomed)),
        ]
        self._tasks.update(pumps)
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
                self._tasks.discard(pump)
            await asyncio.gather(*pumps, return_exceptions=True)
            for stream in (writer, back):
                stream.close()
                with contextlib.suppress(OSError):
                    await stream.wait_closed()

    async def _outward(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter, doomed: asyncio.Event) -> None:
        async for sent in _sent(reader):
            if self._armed is not None and self._armed in sent:
                self._armed = None
                doomed.set()
            if self._left == 0:
                self._frozen.set()
                await self._thawed.wait()
                return
            if self._left is not None:
                self._left -= 1
            back.write(sent)
            await back.drain()

    async def _inward(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event) -> None:
        while data := await there.read(65_536):
            if doomed.is_set():
                self.cuts += 1
                return
            writer.write(data)
            await writer.drain()


async def _sent(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """What a client says (PostgreSQL, "Message Formats"), as it is sent: an extended query goes out as one with its
    Sync, and each message of a COPY may go alone."""
    with contextlib.suppress(asyncio.IncompleteReadError):
        first = await reader.readexactly(4)
        yield first + await reader.readexactly(int.from_bytes(first) - 4)
        sent = b""
        while True:
            head = await reader.readexactly(5)
            sent += head + await reader.readexactly(int.from_bytes(head[1:]) - 4)
            if head[:1] in _SENT_ALONE:
                yield sent
                sent = b""


@contextlib.asynccontextmanager
async def proxied(url: str, server: Path) -> AsyncIterator[Proxy]:
    with tempfile.TemporaryDirectory(prefix="runcast-proxy-") as directory:
        proxy = Proxy(url, server, Path(directory))
        listening = await asyncio.start_unix_server(proxy._serve, Path(directory) / _SOCKET)
        try:
            yield proxy
        finally:
            listening.close()
