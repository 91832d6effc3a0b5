"""Of what kind a failure is, in which phase, and where the time went."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.abc import ResolveResult

from executor.egress import EgressError, EgressTimeout, Kind
from tests.unit.executor.outside import Names, accepting, certificate, egress, get, serving, speaking


class Silent(Names):
    """A name server that never answers."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        await asyncio.Event().wait()
        raise AssertionError


async def answer(request: web.BaseRequest) -> web.Response:
    return web.Response(text="here")


async def test_a_new_connection_has_every_phase_and_a_kept_one_only_two() -> None:
    async with serving(answer) as port, egress(names=Names(["127.0.0.1"])) as out:
        first = (await get(out, f"http://known.example:{port}/")).timings
        again = (await get(out, f"http://known.example:{port}/")).timings
    assert None not in (first.dns, first.connect, first.wait, first.read)
    assert (again.dns, again.connect, again.tls) == (None, None, None)
    assert again.wait is not None
    assert again.wait > 0


async def test_an_address_needs_no_look_up() -> None:
    async with serving(answer) as port, egress() as out:
        reply = await get(out, f"http://127.0.0.1:{port}/")
    assert reply.timings.dns is None
    assert reply.timings.connect is not None


async def test_the_handshake_is_told_apart_and_the_parts_are_the_whole(tmp_path: Path) -> None:
    trusted, tls = certificate(tmp_path)
    async with serving(answer, tls) as port, egress(names=Names(["127.0.0.1"]), trusted=trusted) as out:
        reply = await get(out, f"https://secure.example:{port}/")
        again = await get(out, f"https://secure.example:{port}/")
    parts = [reply.timings.dns, reply.timings.connect, reply.timings.tls, reply.timings.wait, reply.timings.read]
    assert all(part is not None and part >= 0 for part in parts)
    assert sum(part or 0 for part in parts) <= reply.duration * 1000 + 0.001
    assert again.timings.tls is None


async def test_the_waiting_is_where_the_receiver_thinks() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def ponder(request: web.BaseRequest) -> web.Response:
        asked.set()
        await go_on.wait()
        return web.Response()

    async with serving(ponder) as port, egress() as out:
        sending = asyncio.create_task(get(out, f"http://127.0.0.1:{port}/"))
        await asked.wait()
        loop = asyncio.get_running_loop()
        since = loop.time()
        loop.call_later(0.05, go_on.set)
        reply = await sending
        waited = (loop.time() - since) * 1000
    assert reply.timings.wait is not None
    assert reply.timings.wait >= 40
    assert (reply.timings.read or 0) < waited


async def failing(url: str, **more: object) -> EgressError:
    async with egress(**more) as out:  # type: ignore[arg-type]
        with pytest.raises(EgressError) as caught:
            await get(out, url, timeout=5)
    return caught.value


async def test_refusals_say_whether_the_address_or_the_request_is_wrong() -> None:
    inside = await failing("http://10.0.0.1/", allow=[])
    assert (inside.kind, inside.timings.connect) == (Kind.NOT_ALLOWED, None)
    assert (await failing("ftp://example.com/")).kind is Kind.INVALID
    assert (await failing("http://u:p@10.0.0.1/")).kind is Kind.INVALID
    resolved = await failing("http://inside.example/", allow=[], names=Names(["10.0.0.1"]))
    assert resolved.kind is Kind.NOT_ALLOWED
    assert resolved.timings.dns is not None


async def test_what_fails_on_the_way_says_where() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    assert (await failing("http://nothing.invalid/")).kind is Kind.DNS
    refused = await failing(f"http://127.0.0.1:{port}/")
    assert refused.kind is Kind.CONNECT
    assert refused.timings.connect is not None
    assert refused.timings.wait is None


async def test_tls_that_is_not_trusted_or_not_spoken_is_its_own_kind(tmp_path: Path) -> None:
    _, tls = certificate(tmp_path)
    async with serving(answer, tls) as port:
        untrusted = await failing(f"https://127.0.0.1:{port}/")
    assert untrusted.kind is Kind.TLS
    assert untrusted.timings.tls is not None
    async with serving(answer) as port:
        assert (await failing(f"https://127.0.0.1:{port}/")).kind is Kind.TLS


async def test_a_handshake_that_is_cut_off_is_of_tls_too() -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    async with accepting(cut) as port:
        assert (await failing(f"https://127.0.0.1:{port}/")).kind is Kind.TLS


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x00\x01 hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 8\r\n\r\nnot gzip",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["nothing", "garbage", "half", "damaged", "no chunk"],
)
async def test_what_is_no_http_is_a_failure_of_the_protocol(said: bytes) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)

    async with speaking(speak) as port:
        assert (await failing(f"http://127.0.0.1:{port}/")).kind is Kind.PROTOCOL


async def late(url: str, names: Names | None = None) -> EgressTimeout:
    async with egress(names=names) as out:
        with pytest.raises(EgressTimeout) as caught:
            await get(out, url, timeout=0.3)
    assert caught.value.kind is Kind.TIMEOUT
    return caught.value


async def test_a_time_out_says_what_was_being_done() -> None:
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
        await reader.read()

    silent = await late("http://slow.example/", Silent([]))
    assert "looking the name up" in str(silent)
    assert silent.timings.dns is not None
    assert silent.timings.dns >= 250
    async with speaking(wait) as port:
        assert "waiting for the answer" in str(await late(f"http://127.0.0.1:{port}/"))
        assert "agreeing on TLS" in str(await late(f"https://127.0.0.1:{port}/"))
    async with speaking(begin) as port:
        reading = await late(f"http://127.0.0.1:{port}/")
    assert "reading the answer" in str(reading)
    assert reading.timings.read is not None
