"""A proxy in front of a PostgreSQL server's socket that can cut a connection at the worst moment."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

_SOCKET = ".s.PGSQL.5432"


class Proxy:
    """`url` is the server's database through the proxy."""

    def __init__(self, url: str, server: Path, directory: Path) -> None:
        self._server, self._directory = server, directory
        self.url = url.replace(str(server), str(directory))
        self.cuts = 0
        self._armed: bytes | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def cut_after(self, statement: bytes) -> None:
        """The next connection that says this is cut once the server has answered; the answer is swallowed."""
        self._armed = statement

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
        while data := await reader.read(65_536):
            if self._armed is not None and self._armed in data:
                self._armed = None
                doomed.set()
            back.write(data)
            await back.drain()

    async def _inward(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event) -> None:
        while data := await there.read(65_536):
            if doomed.is_set():
                self.cuts += 1
                return
            writer.write(data)
            await writer.drain()


@contextlib.asynccontextmanager
async def proxied(url: str, server: Path) -> AsyncIterator[Proxy]:
    with tempfile.TemporaryDirectory(prefix="runcast-proxy-") as directory:
        proxy = Proxy(url, server, Path(directory))
        listening = await asyncio.start_unix_server(proxy._serve, Path(directory) / _SOCKET)
        try:
            yield proxy
        finally:
            listening.close()
