"""One deadline over everything, and what is given up is closed."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import ExitStack

import pytest

from executor.connecting import tls_context
from executor.egress import Egress, EgressTimeout
from tests.unit.executor.outside import accepting, egress, speaking

MANY = b"x" * 20_000_000


class Watched:
    """A receiver that says what it likes and sees the connection end."""

    def __init__(self, *, reads: bool = True, says: bytes = b"", drips: bytes = b"") -> None:
        self._reads, self._says, self._drips = reads, says, drips
        self.ended = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(self._says)
            while self._drips:
                writer.write(self._drips)
                await writer.drain()
                await asyncio.sleep(0.005)
            if not self._reads:
                writer.transport.pause_reading()  # type: ignore[attr-defined]
                await asyncio.sleep(0.3)  # Longer than the deadline: only then does it look.
                writer.transport.resume_reading()  # type: ignore[attr-defined]
            while await reader.read(1_000_000):
                pass
        except ConnectionError:
            pass
        finally:
            self.ended.set()


async def late(out: Egress, url: str, body: bytes | None = None) -> None:
    with pytest.raises(EgressTimeout, match=r"within 0\.2 s"):
        await out.send("POST", url, body=body, timeout=0.2, max_bytes=100_000)


@pytest.mark.parametrize(
    "receiver",
    [
        {"says": b"HTTP/1.1 200 OK\r\n", "drips": b"a: b\r\n"},
        {"says": b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n", "drips": b"x"},
        {"says": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "drips": b"1\r\nx\r\n"},
        {"drips": b"HTTP/1.1 103 Early Hints\r\n\r\n"},
        {"says": b""},
    ],
    ids=["headers in drips", "a body in drips", "chunks in drips", "early hints for ever", "nothing"],
)
async def test_an_answer_that_does_not_end_ends_at_the_deadline_and_so_does_its_connection(
    receiver: dict[str, bytes],
) -> None:
    watched = Watched(**receiver)  # type: ignore[arg-type]
    async with speaking(watched) as port, egress() as out:
        await late(out, f"http://127.0.0.1:{port}/")
        await asyncio.wait_for(watched.ended.wait(), 10)


async def test_a_receiver_that_never_reads_a_big_request_is_left_at_the_deadline() -> None:
    watched = Watched(reads=False)
    async with speaking(watched) as port, egress() as out:
        await late(out, f"http://127.0.0.1:{port}/", MANY)
        await asyncio.wait_for(watched.ended.wait(), 10)


@pytest.mark.parametrize("drips", [b"", b"\x02"], ids=["that hangs", "in drips"])
async def test_a_handshake_without_end_is_left_at_the_deadline(drips: bytes) -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"\x16\x03\x03\x40\x00" if drips else b"")
            while drips:
                writer.write(drips)
                await writer.drain()
                await asyncio.sleep(0.005)
            while await reader.read(1_000_000):
                pass
        finally:
            ended.set()

    async with accepting(serve) as port, egress() as out:
        await late(out, f"https://127.0.0.1:{port}/")
        await asyncio.wait_for(ended.wait(), 10)


async def test_an_address_that_answers_nothing_is_left_at_the_deadline() -> None:
    """A listener whose backlog is full takes no more connections, and refuses none."""
    loop = asyncio.get_running_loop()
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            connecting = asyncio.ensure_future(loop.sock_connect(waiting, address))
            await asyncio.wait({connecting}, timeout=0.05)
            connecting.cancel()
        async with egress() as out:
            with pytest.raises(EgressTimeout, match="connecting"):
                await out.send("GET", f"http://127.0.0.1:{address[1]}/", timeout=0.2, max_bytes=1)


async def test_the_deadline_is_over_the_whole_and_not_over_each_part() -> None:
    """Each part takes less than the deadline, all of them more."""

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in (b"HTTP/1.1 200 OK\r\n", b"Content-Length: 3\r\n\r\n", b"a", b"b", b"c"):
            await asyncio.sleep(0.08)
            writer.write(part)

    async with speaking(slowly) as port, egress() as out:
        await late(out, f"http://127.0.0.1:{port}/")


def test_tls_trusts_what_the_system_trusts_and_checks_names() -> None:
    context = tls_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
