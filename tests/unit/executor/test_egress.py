from __future__ import annotations

import asyncio
import gzip
import socket
import zlib
from collections.abc import Callable

import pytest
from aiohttp import web

from executor.connecting import guarded_socket
from executor.egress import EgressFailed, EgressRefused
from tests.unit.executor.outside import PUBLIC, Names, egress, get, serving, speaking


async def test_a_request_arrives_as_given_and_its_answer_comes_back() -> None:
    seen: dict[str, object] = {}

    async def answer(request: web.BaseRequest) -> web.Response:
        seen.update(
            method=request.method, body=await request.read(), headers=dict(request.headers), path=request.path
        )
        return web.Response(status=201, text="made", headers={"X-Twice": "a"})

    async with serving(answer) as port, egress() as out:
        reply = await out.send(
            "POST", f"http://127.0.0.1:{port}/x", headers={"X-One": "1"}, body=b"{}", timeout=5, max_bytes=100
        )
    assert (reply.status, reply.body, reply.truncated) == (201, b"made", False)
    assert reply.headers["x-twice"] == "a"
    assert reply.duration > 0
    headers = seen["headers"]
    assert isinstance(headers, dict)
    assert (seen["method"], seen["body"], seen["path"]) == ("POST", b"{}", "/x")
    assert (headers["X-One"], headers["User-Agent"]) == ("1", "Runcast/test")
    assert "Content-Type" not in headers
    assert "Cookie" not in headers


async def test_a_body_of_several_megabytes_arrives_whole() -> None:
    body = bytes(range(256)) * 12_000

    async def answer(request: web.BaseRequest) -> web.Response:
        given = await request.content.read(-1)
        return web.Response(text=f"{given == body} {request.headers['Content-Length']}")

    async with serving(answer) as port, egress() as out:
        reply = await out.send("POST", f"http://127.0.0.1:{port}/", body=body, timeout=10, max_bytes=100)
    assert reply.body == b"True 3072000"


async def test_the_host_and_what_is_accepted_are_said_and_may_be_said_otherwise() -> None:
    seen = []

    async def answer(request: web.BaseRequest) -> web.Response:
        seen.append({name: request.headers.getall(name) for name in ("Host", "Accept", "Accept-Encoding")})
        return web.Response()

    async with serving(answer) as port, egress(names=Names(["127.0.0.1"])) as out:
        url = f"http://There.example.:{port}/a#b"
        await get(out, url)
        await out.send("GET", url, headers={"host": "other", "accept": "text/html"}, timeout=5, max_bytes=1)
    assert seen == [
        {"Host": [f"there.example:{port}"], "Accept": ["*/*"], "Accept-Encoding": ["gzip, deflate"]},
        {"Host": ["other"], "Accept": ["text/html"], "Accept-Encoding": ["gzip, deflate"]},
    ]


async def test_head_is_answered_without_a_body() -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(text="hello")

    async with serving(answer) as port, egress() as out:
        for _ in range(2):
            reply = await out.send("HEAD", f"http://127.0.0.1:{port}/", timeout=5, max_bytes=100)
            assert (reply.status, reply.headers["content-length"], reply.body) == (200, "5", b"")


async def test_connections_are_kept_and_cookies_are_not() -> None:
    peers, cookies = set(), []

    async def answer(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        cookies.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": "a=b"})

    async with serving(answer) as port, egress() as out:
        for _ in range(3):
            await get(out, f"http://127.0.0.1:{port}/")
    assert len(peers) == 1
    assert cookies == [None, None, None]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_answers_and_not_followed(status: int) -> None:
    asked = []

    async def answer(request: web.BaseRequest) -> web.Response:
        asked.append(request.path)
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    async with serving(answer) as port, egress() as out:
        reply = await get(out, f"http://127.0.0.1:{port}/here")
    assert (reply.status, reply.headers["location"], asked) == (status, "/elsewhere", ["/here"])


async def test_ten_megabytes_are_cut_and_the_connection_is_given_up() -> None:
    sent = 0

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"y" * 10_000)
            await writer.drain()
            sent += 10_000

    async with speaking(pour) as port, egress() as out:
        reply = await get(out, f"http://127.0.0.1:{port}/", max_bytes=16384)
        assert (len(reply.body), reply.truncated) == (16384, True)
    assert sent < 10_000_000


@pytest.mark.parametrize("size", [0, 1, 16383, 16384])
async def test_an_answer_up_to_the_limit_is_whole(size: int) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(body=b"z" * size)

    async with serving(answer) as port, egress() as out:
        reply = await get(out, f"http://127.0.0.1:{port}/", max_bytes=16384)
    assert (len(reply.body), reply.truncated) == (size, False)


@pytest.mark.parametrize(
    ("coding", "encode"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("GZIP", gzip.compress)]
)
async def test_a_compressed_answer_is_read_and_a_bomb_is_bounded(
    coding: str, encode: Callable[[bytes], bytes]
) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        body = encode(b"small" if request.path == "/small" else bytes(50_000_000))
        return web.Response(body=body, headers={"Content-Encoding": coding})

    async with serving(answer) as port, egress() as out:
        assert (await get(out, f"http://127.0.0.1:{port}/small")).body == b"small"
        bomb = await get(out, f"http://127.0.0.1:{port}/bomb", max_bytes=1000)
    assert (bomb.body, bomb.truncated) == (bytes(1000), True)


async def test_a_damaged_compressed_answer_is_a_failure() -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(body=b"not gzip", headers={"Content-Encoding": "gzip"})

    async with serving(answer) as port, egress() as out:
        with pytest.raises(EgressFailed, match="damaged"):
            await get(out, f"http://127.0.0.1:{port}/")


async def test_garbage_and_resets_are_failures() -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x01 hello\r\n\r\n")

    async def nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    for speak in (garbage, nothing, half):
        async with speaking(speak) as port, egress() as out:
            with pytest.raises(EgressFailed):
                await get(out, f"http://127.0.0.1:{port}/")


async def test_a_closed_port_and_a_name_that_does_not_resolve_are_failures() -> None:
    async with speaking(lambda reader, writer: asyncio.sleep(0)) as port:
        pass
    async with egress() as out:
        with pytest.raises(EgressFailed, match="refused"):
            await get(out, f"http://127.0.0.1:{port}/")
        with pytest.raises(EgressFailed, match="does not resolve"):
            await get(out, "http://nothing.invalid/")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://%31%32%37.0.0.1/",
        "http://１２７.0.0.1/",
        "http://127。0。0。1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::1]/",
        "http://[fe80::1%25eth0]/",
        "http://[fc00::1]/",
        "http://10.0.0.1/",
        "http://100.64.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0.0.0.0/",
        "http://224.0.0.1/",
        "http://localhost/",
        "https://LOCALHOST:8443/",
        "http://sub.localhost./",
    ],
)
async def test_addresses_that_may_not_be_reached_are_refused_in_every_spelling(url: str) -> None:
    async with egress(allow=[]) as out:
        assert out.check_url(url)
        assert await out.check_reachable(url) == out.check_url(url)
        with pytest.raises(EgressRefused):
            await get(out, url)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://example.com/", "must begin with"),
        ("file:///etc/passwd", "must begin with"),
        ("example.com", "must begin with"),
        ("", "must begin with"),
        ("http://", "no host"),
        ("http:///path", "no host"),
        ("https://user:pw@example.com/", "credentials"),
        ("https://user@example.com/", "credentials"),
        ("http://example.com:0/", "port"),
        ("http://example.com:99999/", "not a URL"),
        ("http://[::1/", "not a URL"),
        ("http://" + "a" * 3000, "longer than"),
    ],
)
async def test_what_is_no_proper_url_says_what_is_wrong(url: str, problem: str) -> None:
    async with egress() as out:
        assert problem in "; ".join(out.check_url(url))
        with pytest.raises(EgressRefused):
            await get(out, url)


async def test_all_problems_of_a_url_come_at_once() -> None:
    async with egress(allow=[]) as out:
        assert len(out.check_url("ftp://user@127.0.0.1/")) == 3


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1", "fd00::1", "64:ff9b::a00:1"])
async def test_a_name_that_resolves_to_what_may_not_be_reached_is_refused(address: str) -> None:
    async with egress(allow=[], names=Names([address])) as out:
        assert "resolves to an address" in (await out.check_reachable("http://inside.example/"))[0]
        with pytest.raises(EgressRefused, match="resolves to"):
            await get(out, "http://inside.example/")


async def test_registration_refuses_a_name_with_one_bad_address_among_good_ones() -> None:
    async with egress(allow=[], names=Names([PUBLIC, "10.0.0.1"])) as out:
        assert await out.check_reachable("http://mixed.example/")


async def test_registration_accepts_names_that_do_not_resolve_and_public_ones() -> None:
    async with egress(allow=[]) as out:
        assert await out.check_reachable("http://nothing.invalid/") == []
        assert await out.check_reachable(f"http://{PUBLIC}/") == []


async def test_a_name_that_is_bound_anew_after_registration_is_refused_at_the_connection() -> None:
    touched = asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.Response:
        touched.set()
        return web.Response()

    async with serving(answer) as port, egress(allow=[], names=Names([PUBLIC], ["127.0.0.1"])) as out:
        assert await out.check_reachable(f"http://rebound.example:{port}/") == []
        with pytest.raises(EgressRefused):
            await get(out, f"http://rebound.example:{port}/")
    assert not touched.is_set()


async def test_of_several_addresses_only_those_that_may_be_reached_are_connected_to() -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(text="reached")

    async with serving(answer) as port, egress(names=Names(["10.255.255.1", "127.0.0.1"])) as out:
        assert (await get(out, f"http://both.example:{port}/", timeout=2)).body == b"reached"


def test_the_socket_is_judged_even_if_a_resolver_lets_an_address_through() -> None:
    for address in (("127.0.0.1", 80), ("::1", 80, 0, 0), ("fe80::1%lo", 80, 0, 1)):
        family = socket.AF_INET if len(address) == 2 else socket.AF_INET6
        with pytest.raises(OSError, match="may not be reached"):
            guarded_socket((family, socket.SOCK_STREAM, 0, "", address), [])


async def test_a_header_that_holds_a_line_break_is_refused_without_showing_it() -> None:
    async with egress() as out:
        with pytest.raises(EgressRefused) as caught:
            await out.send(
                "POST", "http://127.0.0.1:2/", headers={"X-Key": "secret\r\nX-Evil: 1"}, timeout=1, max_bytes=1
            )
    assert "secret" not in str(caught.value)


async def test_errors_show_nothing_secret_of_the_url() -> None:
    async with egress() as out:
        for url in ("http://127.0.0.1:2/p?token=hunter2", "http://u:hunter2@127.0.0.1/", "http://no.invalid/hunter2"):
            with pytest.raises((EgressFailed, EgressRefused)) as caught:
                await get(out, url)
            assert "hunter2" not in str(caught.value)
            assert caught.value.__cause__ is None


async def test_closing_twice_is_harmless() -> None:
    async with egress() as out:
        await out.close()
