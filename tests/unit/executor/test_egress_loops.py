"""On both event loops: no socket is left behind wherever an exchange is cancelled, TLS ends as it should, and other
clients read the same answers."""

from __future__ import annotations

import asyncio
import os
import random
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop

from executor.egress import Egress, EgressError, Kind
from tests.unit.executor.outside import Names, accepting, certificate, egress, get, speaking
from tests.unit.executor.test_egress_course import Silent

Loop = Callable[[], asyncio.AbstractEventLoop]
LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def on(loop: Loop, do: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(do)


class Stalling:
    """A receiver, or a proxy, that says something and then no more. It sees the connection come and end."""

    def __init__(self, says: bytes = b"", *, after: bytes = b"\r\n\r\n", reads: bool = True) -> None:
        self._says, self._after, self._reads = says, after, reads
        self.come, self.ended = asyncio.Event(), asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._after:
                await reader.readuntil(self._after)
            writer.write(self._says)
            await writer.drain()
            self.come.set()
            if not self._reads:
                await asyncio.Event().wait()
            while await reader.read(100_000):
                pass
        except ConnectionError:
            pass
        finally:
            self.ended.set()


CONNECTED = b"HTTP/1.1 200 OK\r\n\r\n"
PHASES: dict[str, tuple[dict[str, Any], str, bool]] = {
    "agreeing on TLS": ({"after": b""}, "https", False),
    "waiting": ({}, "http", False),
    "reading": ({"says": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"}, "http", False),
    "asking the proxy": ({}, "https", True),
    "agreeing on TLS in the tunnel": ({"says": CONNECTED}, "https", True),
}


@LOOPS
@pytest.mark.parametrize(("stalls", "scheme", "is_proxied"), PHASES.values(), ids=PHASES)
def test_no_socket_is_left_wherever_an_exchange_is_cancelled(
    loop: Loop, stalls: dict[str, Any], scheme: str, is_proxied: bool
) -> None:
    async def cancelled() -> None:
        there = Stalling(**stalls)
        async with accepting(there) as port:
            proxy = f"http://127.0.0.1:{port}" if is_proxied else None
            async with egress(proxy=proxy) as out:
                sending = asyncio.create_task(get(out, f"{scheme}://127.0.0.1:{port}/"))
                await there.come.wait()
                await asyncio.sleep(0)
                sending.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await sending
                await asyncio.wait_for(there.ended.wait(), 10)

    before = open_files(loop)
    on(loop, cancelled())
    assert open_files(loop) == before


@LOOPS
def test_no_socket_is_left_in_whichever_turn_of_the_loop_it_is_cancelled(loop: Loop, tmp_path: Path) -> None:
    trusted, tls = certificate(tmp_path)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)

    async def cancelled() -> None:
        async with tls_serving(answer, tls) as secure, accepting(answer) as plain:
            for port, scheme in ((plain, "http"), (secure, "https")):
                for turns in range(60):
                    async with egress(names=Names(["127.0.0.1"]), trusted=trusted) as out:
                        sending = asyncio.create_task(get(out, f"{scheme}://secure.example:{port}/"))
                        for _ in range(turns):
                            await asyncio.sleep(0)
                        sending.cancel()
                        await asyncio.gather(sending, return_exceptions=True)

    before = open_files(loop)
    on(loop, cancelled())
    assert open_files(loop) == before


@LOOPS
def test_who_is_cancelled_while_a_name_is_looked_up_leaves_nothing(loop: Loop) -> None:
    async def cancelled() -> None:
        async with egress(names=Silent([])) as out:
            sending = asyncio.create_task(get(out, "http://slow.example/"))
            await asyncio.sleep(0)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending

    on(loop, cancelled())


@asynccontextmanager
async def tls_serving(serve: Any, tls: ssl.SSLContext) -> AsyncIterator[int]:
    """Connections are over when this ends."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort() if serve is ragged else writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(handle(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def until_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
    await writer.drain()


async def ragged(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ends without the farewell of TLS."""
    await until_the_end(reader, writer)


@LOOPS
@pytest.mark.parametrize("serve", [until_the_end, ragged])
def test_over_tls_an_answer_without_a_length_ends_with_the_connection(loop: Loop, serve: Any, tmp_path: Path) -> None:
    trusted, tls = certificate(tmp_path)

    async def read() -> None:
        async with tls_serving(serve, tls) as port, egress(trusted=trusted) as out:
            reply = await get(out, f"https://127.0.0.1:{port}/")
            assert (reply.body, reply.truncated) == (b"until the end", False)

    on(loop, read())


@LOOPS
@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3_000_000])
def test_requests_of_every_size_arrive_over_tls_and_without(loop: Loop, size: int, tmp_path: Path) -> None:
    trusted, tls = certificate(tmp_path)

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(size)
            writer.write(OK if body == bytes(size) else b"no")

    async def sent() -> None:
        async with AsyncExitStack() as stack:
            secure = await stack.enter_async_context(tls_serving(count, tls))
            plain = await stack.enter_async_context(accepting(count))
            out = await stack.enter_async_context(egress(trusted=trusted))
            for url in (f"https://127.0.0.1:{secure}/", f"http://127.0.0.1:{plain}/") * 2:
                reply = await out.send("PUT", url, body=bytes(size), timeout=10, max_bytes=10)
                assert reply.body == b"ok"

    on(loop, sent())


ANSWERS = {
    "a length": OK,
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x\r\nk\r\n0\r\nT: x\r\n\r\n",
    "the end": b"HTTP/1.1 200 OK\r\n\r\nok",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nok",
    "interim": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK,
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    "a teapot": b"HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n",
    "repeated headers": b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Length: 0\r\n\r\n",
    "an empty header": b"HTTP/1.1 200 OK\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n",
    "a text": "HTTP/1.1 200 Gut\r\nX: grüß\r\nContent-Length: 0\r\n\r\n".encode(),
    "bytes": b"HTTP/1.1 200 OK\r\nX: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
    "lines without CR": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "half": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    "garbage": b"hello\r\n\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("said", ANSWERS.values(), ids=ANSWERS)
async def test_another_client_reads_the_same(said: bytes) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)

    async with speaking(speak) as port, egress() as out, aiohttp.ClientSession() as other:
        url = f"http://127.0.0.1:{port}/"
        assert await ours(out, url) == await theirs(other, url)


async def test_any_bytes_are_an_answer_or_an_error_of_ours() -> None:
    chance = random.Random(7)
    pieces = [OK, b"HTTP/1.1 ", b"200 ", b"\r\n", b"Transfer-Encoding: chunked\r\n", b"\x00", b"5\r\n", b"\xff" * 9]

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in chance.choices(pieces, k=chance.randrange(6)):
            writer.write(piece[: chance.randrange(1, 60)])
            await asyncio.sleep(0)

    counts = Counter[str]()
    async with speaking(speak) as port, egress() as out:
        for _ in range(200):
            try:
                counts[str((await get(out, f"http://127.0.0.1:{port}/")).status)] += 1
            except EgressError as error:
                counts[error.kind] += 1
    assert set(counts) == {"200", Kind.PROTOCOL}


async def ours(out: Egress, url: str) -> tuple[int, dict[str, str], bytes] | None:
    try:
        reply = await get(out, url)
    except EgressError:
        return None
    return reply.status, reply.headers, reply.body


async def theirs(other: aiohttp.ClientSession, url: str) -> tuple[int, dict[str, str], bytes] | None:
    try:
        async with other.get(url) as reply:
            names = {name.lower() for name in reply.headers}
            headers = {name: ", ".join(reply.headers.getall(name)) for name in names}
            return reply.status, headers, await reply.read()
    except aiohttp.ClientError:
        return None


def open_files(loop: Loop) -> int:
    """Without those that a loop keeps for the whole process from its first time on."""
    on(loop, asyncio.sleep(0))
    return len(os.listdir("/dev/fd"))
