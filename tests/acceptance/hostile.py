"""A receiver of webhooks that misbehaves in every way there is, each on a path of its own, and keeps what it saw."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from typing import Final

from webhooks.verification import verify

_DRIP_SECONDS: Final = 0.05
_SLOW_SECONDS: Final = 0.01
_LONGEST_SECONDS: Final = 60
_WORDS: Final = b"noted. " * 100
_TEN_MEGABYTES: Final = 15_000
_RST: Final = struct.pack("ii", 1, 0)
"""For SO_LINGER: closing throws away what is not sent, and says so (socket(7))."""


class Seen:
    """One request. `number` is `X-Webhook-Attempt`; times are seconds of the monotonic clock, `ended` null while it
    is answered; `status` null where no whole answer was given."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.path, self.headers, self.body = path, headers, body
        self.id, self.delivery = headers["webhook-id"], headers["x-webhook-delivery"]
        self.number = int(headers["x-webhook-attempt"])
        self.began = time.monotonic()
        self.ended: float | None = None
        self.status: int | None = None


class Exchange:
    """A request, and the connection to misbehave on."""

    def __init__(self, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen, self.reader, self.writer = seen, reader, writer

    async def say(self, status: int, *headers: str, times: int = 1) -> None:
        """The same words so many times, as long as somebody listens."""
        lines = (f"HTTP/1.1 {status} Said", f"Content-Length: {times * len(_WORDS)}", *headers, "", "")
        self.writer.write("\r\n".join(lines).encode())
        self.seen.status = status
        for _ in range(times):
            self.writer.write(_WORDS)
            await self.writer.drain()

    async def hang(self) -> None:
        """Until they go."""
        while await self.reader.read(1024):
            pass

    async def drip(self, begin: bytes) -> None:
        """A byte at a time, for ever."""
        self.writer.write(begin)
        while not self.reader.at_eof():
            self.writer.write(b"x")
            await self.writer.drain()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRIP_SECONDS):
                    await self.reader.read(1)

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        self.writer.transport.abort()


Behaviour = Callable[[Exchange], Awaitable[None]]


async def _drips_headers(exchange: Exchange) -> None:
    await exchange.drip(b"HTTP/1.1 200 OK\r\nX-Drip: ")


async def _drips_body(exchange: Exchange) -> None:
    await exchange.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")


async def _resets(exchange: Exchange) -> None:
    exchange.reset()


async def _resets_midway(exchange: Exchange) -> None:
    exchange.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await exchange.writer.drain()
    await asyncio.sleep(_SLOW_SECONDS)
    exchange.reset()


async def _answers_garbage(exchange: Exchange) -> None:
    exchange.writer.write(b"\x00\xff\xfe this is no HTTP\r\n\r\n" * 10)
    await exchange.writer.drain()
    exchange.writer.close()


async def _closes(exchange: Exchange) -> None:
    exchange.writer.close()


async def _is_gone_in_a_second(exchange: Exchange) -> None:
    await exchange.say(503, f"Retry-After: {formatdate(time.time() + 1, usegmt=True)}")


def _says(status: int, *headers: str, times: int = 1) -> Behaviour:
    return lambda exchange: exchange.say(status, *headers, times=times)


BEHAVIOURS: Final[dict[str, Behaviour]] = {
    "well": _says(200),
    "fails": _says(500),
    "unavailable": _says(503, "Retry-After: 1"),
    "unavailable-until": _is_gone_in_a_second,
    "refuses": _says(400),
    "misses": _says(404),
    "redirects": _says(302, "Location: /elsewhere"),
    "hangs": Exchange.hang,
    "drips-headers": _drips_headers,
    "drips-body": _drips_body,
    "resets": _resets,
    "resets-midway": _resets_midway,
    "big": _says(500, times=_TEN_MEGABYTES),
    "garbage": _answers_garbage,
    "closes": _closes,
    "ordered-fails": _says(500),
    "ordered-closes": _closes,
}


class Hostile:
    """`failures` of its requests each path answers as it is called (by a behaviour, or `says-` a status), and every
    later one well. A path `always-…` never does well."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.url = ""
        self.secrets: dict[str, str] = {}
        """By path; from when on what comes there is verified."""
        self.seen: list[Seen] = []
        self.arrived: defaultdict[str, set[str]] = defaultdict(set)
        """Ids of what is answered well, by path."""
        self.wrong: list[str] = []
        self._requests: Counter[str] = Counter()
        self._connections: set[asyncio.Task[None]] = set()
        self._awaited: list[tuple[str, str, asyncio.Future[Seen]]] = []
        self._withheld: dict[str, asyncio.Event] = {}

    def of(self, path: str) -> list[Seen]:
        return [each for each in self.seen if each.path == path]

    async def next(self, moment: str, path: str) -> Seen:
        """The next request there, at the moment that it is `asked`, or as its answer is `given` to the kernel."""
        future = asyncio.get_running_loop().create_future()
        self._awaited.append((moment, path, future))
        async with asyncio.timeout(_LONGEST_SECONDS):
            return await future

    @contextlib.asynccontextmanager
    async def withheld(self, path: str) -> AsyncIterator[Seen]:
        """The next request there, whose answer begins when the block has ended."""
        over = self._withheld[path] = asyncio.Event()
        try:
            yield await self.next("asked", path)
        finally:
            over.set()

    async def close(self) -> None:
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    def _tell(self, moment: str, seen: Seen) -> None:
        waiting, self._awaited = self._awaited, []
        for awaited in waiting:
            if awaited[:2] == (moment, seen.path) and not awaited[2].done():
                awaited[2].set_result(seen)
            else:
                self._awaited.append(awaited)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (seen := await self._request(reader)) is not None:
                try:
                    await self._answer(Exchange(seen, reader, writer))
                finally:
                    seen.ended = time.monotonic()
                self._tell("given", seen)
                if writer.is_closing():
                    return
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> Seen | None:
        """Null where they went instead."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except asyncio.IncompleteReadError:
            return None
        pairs = (line.split(": ", 1) for line in head[1:] if line)
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers["content-length"]))
        seen = Seen(head[0].split()[1].removeprefix("/"), headers, body)
        self.seen.append(seen)
        return seen

    async def _answer(self, exchange: Exchange) -> None:
        seen = exchange.seen
        self._tell("asked", seen)
        if (over := self._withheld.pop(seen.path, None)) is not None:
            await over.wait()
        try:
            verify(seen.body, seen.headers, self.secrets[seen.path])
        except Exception as error:
            self.wrong.append(f"{seen.path}: {error!r}")
        self._requests[seen.path] += 1
        name = seen.path.removeprefix("always-")
        if name != seen.path or (self._requests[seen.path] <= self.failures and name != "well"):
            await (BEHAVIOURS.get(name) or _says(int(name.removeprefix("says-"))))(exchange)
            return
        if name.startswith("ordered"):
            await asyncio.sleep(_SLOW_SECONDS)
        self.arrived[seen.path].add(seen.id)
        await exchange.say(200, times=_TEN_MEGABYTES if name == "big" else 1)


@contextlib.asynccontextmanager
async def hostile(failures: int) -> AsyncIterator[Hostile]:
    receiver = Hostile(failures)
    server = await asyncio.start_server(receiver.connected, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield receiver
    finally:
        server.close()
        await receiver.close()
