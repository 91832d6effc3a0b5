"""Through a proxy: everything, by its rules and ours."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.abc import ResolveResult

from executor import egress as module
from executor.egress import EgressFailed, EgressRefused, Kind
from executor.proxy import parse
from tests.unit.executor.outside import PUBLIC, Names, certificate, egress, get, serving, speaking
from tests.unit.executor.proxying import proxying

BASIC = "Basic dXNlcjpodW50ZXIy"  # user:hunter2


class Unknown(Names):
    """A name server that knows no name outside, as where only the proxy does."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def answer(request: web.BaseRequest) -> web.Response:
    return web.Response(text=f"{request.method} {request.path_qs} {request.headers.get('Proxy-Authorization', '-')}")


async def test_plain_requests_go_in_absolute_form_and_others_through_a_tunnel(tmp_path: Path) -> None:
    trusted, tls = certificate(tmp_path)
    async with serving(answer) as plain, serving(answer, tls) as secure, proxying() as proxy:
        names = Names([PUBLIC])
        async with egress(allow=[], names=names, trusted=trusted, proxy=proxy.url) as out:
            first = await get(out, f"http://plain.example:{plain}/a?b=c")
            second = await get(out, f"https://secure.example:{secure}/d")
            again = await get(out, f"https://secure.example:{secure}/e")
    assert (first.body, second.body, again.body) == (b"GET /a?b=c -", b"GET /d -", b"GET /e -")
    assert proxy.lines == [f"GET http://plain.example:{plain}/a?b=c", f"CONNECT secure.example:{secure}"]
    assert None not in (second.timings.dns, second.timings.connect, second.timings.tls, second.timings.wait)
    assert again.timings.connect is None


async def test_its_credentials_go_to_the_proxy_and_not_through_a_tunnel(tmp_path: Path) -> None:
    trusted, tls = certificate(tmp_path)
    async with serving(answer, tls) as secure, serving(answer) as plain, proxying(wants=BASIC) as proxy:
        address = proxy.url.replace("//", "//user:hunter2@")
        async with egress(allow=[], names=Names([PUBLIC]), trusted=trusted, proxy=address) as out:
            assert (await get(out, f"https://secure.example:{secure}/")).body == b"GET / -"
            assert (await get(out, f"http://plain.example:{plain}/")).status == 200
    assert all(f"Proxy-Authorization: {BASIC}" in head for head in proxy.heads)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_wants_other_credentials_is_named_and_they_are_not(scheme: str) -> None:
    async with proxying(wants="Basic other") as proxy:
        address = proxy.url.replace("//", "//user:hunter2@")
        async with egress(allow=[], names=Names([PUBLIC]), proxy=address) as out:
            with pytest.raises(EgressFailed, match="the proxy answered 407") as caught:
                await get(out, f"{scheme}://there.example:8443/")
    assert caught.value.kind is Kind.CONNECT
    assert "hunter2" not in str(caught.value)


async def test_what_the_proxy_does_not_connect_to_is_a_failure() -> None:
    async with proxying(refuses=403) as proxy, egress(allow=[], names=Names([PUBLIC]), proxy=proxy.url) as out:
        with pytest.raises(EgressFailed, match="the proxy answered 403 instead of connecting"):
            await get(out, "https://there.example/")


@pytest.mark.parametrize("said", [b"", b"SSH-2.0\r\n", b"HTTP/1.1 200"], ids=["nothing", "garbage", "half"])
async def test_a_proxy_that_does_not_answer_properly_is_named(said: bytes) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)

    async with speaking(speak) as port, egress(names=Names([PUBLIC]), proxy=f"http://127.0.0.1:{port}") as out:
        with pytest.raises(EgressFailed, match=r"^no connection through the proxy: ") as caught:
            await get(out, "https://there.example/")
    assert caught.value.kind is Kind.CONNECT


async def test_a_proxy_that_speaks_before_the_server_does_is_not_the_server(tmp_path: Path) -> None:
    """What comes with the proxy's own answer is no part of the TLS inside."""
    trusted, _ = certificate(tmp_path)

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
        await reader.read(1)

    async with speaking(speak) as port, egress(trusted=trusted, proxy=f"http://127.0.0.1:{port}") as out:
        with pytest.raises(EgressFailed) as caught:
            await get(out, "https://127.0.0.1/")
    assert caught.value.kind is Kind.TLS


async def test_a_proxy_that_is_not_there_is_named_without_its_address() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    async with egress(allow=[], names=Names([PUBLIC]), proxy=f"http://user:hunter2@127.0.0.1:{port}") as out:
        with pytest.raises(EgressFailed, match=r"^no connection to the proxy: Connection refused$") as caught:
            await get(out, "http://there.example/")
    assert (caught.value.kind, str(port) in str(caught.value)) == (Kind.CONNECT, False)
    async with egress(allow=[], proxy="http://proxy.invalid:3128") as out:
        with pytest.raises(EgressFailed, match="the proxy's name does not resolve"):
            await get(out, f"http://{PUBLIC}/")


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("http://127.0.0.1:8000/", []),
        ("http://2130706433/", []),
        ("https://localhost/", []),
        ("http://metadata.example/", ["169.254.169.254"]),
        ("https://mixed.example/", [PUBLIC, "10.0.0.1"]),
        ("http://example.com:25/", [PUBLIC]),
    ],
)
async def test_the_guard_judges_before_the_proxy_is_asked(url: str, addresses: list[str]) -> None:
    async with proxying() as proxy, egress(allow=[], names=Names(addresses), proxy=proxy.url) as out:
        with pytest.raises(EgressRefused) as caught:
            await get(out, url)
    assert caught.value.kind is Kind.NOT_ALLOWED
    assert proxy.lines == []


async def test_a_name_that_only_the_proxy_knows_is_left_to_it_and_not_asked_for_each_time() -> None:
    names = Unknown([])
    async with serving(answer) as port, proxying() as proxy, egress(allow=[], names=names, proxy=proxy.url) as out:
        for _ in range(3):
            assert (await get(out, f"http://inside.example:{port}/")).status == 200
    assert names.asked == 1


async def test_a_name_that_hangs_here_is_left_to_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Unknown):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            await asyncio.Event().wait()
            raise AssertionError

    monkeypatch.setattr(module, "PROXIED_LOOKUP_SECONDS", 0.01)
    async with (
        serving(answer) as port,
        proxying() as proxy,
        egress(allow=[], names=Silent([]), proxy=proxy.url) as out,
    ):
        assert (await get(out, f"http://inside.example:{port}/")).status == 200


async def test_proxies_of_the_environment_are_asked_for_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trusted, tls = certificate(tmp_path)
    async with serving(answer) as plain, serving(answer, tls) as secure, proxying() as stranger, proxying() as named:
        for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(variable, stranger.url)
        for proxy in (None, named.url):
            async with egress(names=Names(["127.0.0.1"]), trusted=trusted, proxy=proxy) as out:
                assert (await get(out, f"http://plain.example:{plain}/")).status == 200
                assert (await get(out, f"https://secure.example:{secure}/")).status == 200
    assert stranger.lines == []
    assert len(named.lines) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("proxy:3128", "must be http://host:port"),
        ("https://proxy:3128", "must be http://host:port"),
        ("socks5://user:hunter2@proxy:1080", "must be http://host:port"),
        ("http://proxy", "must be http://host:port"),
        ("http://user:hunter2@:3128", "must be http://host:port"),
        ("http://proxy:0", "must be http://host:port"),
        ("http://proxy:3128/path", "nothing behind the port"),
        ("http://proxy:3128?a=b", "nothing behind the port"),
        ("http://:hunter2@proxy:3128", "a password without a user"),
        ("http://a%3Ab:hunter2@proxy:3128", "colon"),
        ("http://user:hunter2/x@proxy:3128", "%2F"),
        ("http://[::1:3128", "must be http://host:port"),
        ("", "must be http://host:port"),
    ],
)
def test_what_is_no_proxy_says_what_would_be_one_and_repeats_nothing(text: str, problem: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert problem in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_proxy_does_not_show_its_credentials() -> None:
    proxy = parse("http://us%40r:p%3Aw%C3%BC@[::1]:3128")
    assert proxy.headers() == {"Proxy-Authorization": "Basic dXNAcjpwOnfDvA=="}
    assert repr(proxy) == "Proxy('http://[::1]:3128', [REDACTED])"
    assert parse("http://proxy:3128/").headers() == {}
