"""A receiver of POSTs that costs next to nothing: a bare protocol on uvloop that answers 200 and notes what came.
Says its port first, and obeys orders on standard input.

What is posted below `/hang` is never answered. Of all others it keeps the path and `webhook-id`, and how long ago the
event was handed over to the log, which its body says.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final, cast

import uvloop
from children import open_files
from orders import Answer, heed, say
from payload import MARK, now, times

from hub.server import bound

HANG: Final = "/hang"
FILES: Final = 20_000
_OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_LENGTH: Final = b"\r\ncontent-length:"
_ID: Final = b"\r\nwebhook-id:"
_HANG: Final = HANG.encode()


class Posted:
    """What has come since `expect`."""

    def __init__(self) -> None:
        self._port, self._wanted = 0, 0
        self.seen: Counter[bytes] = Counter()
        self._first = self._last = self._hanging = self._size = 0
        self._waits: list[tuple[int, int]] = []
        self._all = asyncio.Event()
        self.silent: set[asyncio.Transport] = set()

    async def expect(self, count: int) -> Answer:
        """From now on counts anew, up to so many that are different."""
        self._wanted, self.seen, self._waits = count, Counter(), []
        self._first = self._last = self._hanging = self._size = 0
        self._all.clear()
        return {}

    async def count(self) -> Answer:
        """How many have come; those that hang are counted by themselves. `size` is that of the newest body."""
        return {"count": len(self.seen), "hanging": self._hanging, "size": self._size}

    async def wait(self, seconds: float) -> Answer:
        """Until all have come that are expected, or it is over. `again` are those that had come before. `since_due`
        and `since_call` are nanoseconds from when the append was due, and from its call, each sorted."""
        try:
            async with asyncio.timeout(seconds):
                await self._all.wait()
        except TimeoutError:
            pass
        return {
            "first": self._first,
            "last": self._last,
            "missing": self._wanted - len(self.seen),
            "again": self.seen.total() - len(self.seen),
            "since_due": sorted(due for due, _ in self._waits),
            "since_call": sorted(called for _, called in self._waits),
            "hanging": self._hanging,
        }

    async def let_go(self) -> Answer:
        """Closes what hangs."""
        for transport in tuple(self.silent):
            transport.abort()
        return {}

    def hang(self, transport: asyncio.Transport) -> None:
        self._hanging += 1
        self.silent.add(transport)

    def arrived(self, path: bytes, id: bytes, body: bytes) -> None:
        self._last = now()
        self._first = self._first or self._last
        self._size = len(body)
        name = path + b" " + id
        self.seen[name] += 1
        if self.seen[name] > 1:
            return
        if (at := body.find(MARK)) >= 0:
            due, called = times(body, at)
            self._waits.append((self._last - due, self._last - called))
        if len(self.seen) == self._wanted:
            self._all.set()


class Connection(asyncio.Protocol):
    """One after the other, as HTTP/1.1 has it; they may come in pieces, and more than one at once."""

    def __init__(self, posted: Posted) -> None:
        self._posted, self._rest = posted, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._posted.silent.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        data, at = self._rest + data, 0
        while (end := data.find(b"\r\n\r\n", at)) >= 0:
            head = data[at:end]
            fields = head.lower()
            begins, ends = end + 4, end + 4 + int(_field(fields, _LENGTH) or 0)
            if ends > len(data):
                break
            self._take(head.split(b" ", 2)[1], _field(fields, _ID), data[begins:ends])
            at = ends
        self._rest = data[at:]

    def _take(self, path: bytes, id: bytes, body: bytes) -> None:
        if path.startswith(_HANG):
            self._posted.hang(self._transport)
            return
        self._posted.arrived(path, id, body)
        self._transport.write(_OK)


def _field(fields: bytes, name: bytes) -> bytes:
    """The value of a header; empty where it is not there."""
    at = fields.find(name)
    if at < 0:
        return b""
    return fields[at + len(name) :].partition(b"\r\n")[0].strip()


async def serve() -> None:
    posted, listener = Posted(), bound("127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(posted), sock=listener, backlog=FILES)
    say({"port": listener.getsockname()[1]})
    async with server:
        await heed(**{each.__name__: each for each in (posted.expect, posted.count, posted.wait, posted.let_go)})


if __name__ == "__main__":
    open_files(FILES)
    uvloop.run(serve())
