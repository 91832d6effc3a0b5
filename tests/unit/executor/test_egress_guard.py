"""What may not be reached is never connected to, whatever names and receivers do."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from ipaddress import ip_network

import pytest
from aiohttp import web

from executor import lookups
from executor.addresses import Network
from executor.egress import EgressRefused, Kind
from executor.targets import examine
from tests.unit.executor.outside import Names, egress, get, serving

GOOD: list[Network] = [ip_network("127.0.0.2/32")]
"""Stands for what is public here; 127.0.0.1 for what is not."""

FAMILIES = {
    "loopback": "127.0.0.1",
    "private 10": "10.1.2.3",
    "private 172": "172.31.255.254",
    "private 192": "192.168.0.1",
    "unspecified": "0.0.0.0",
    "this network": "0.1.2.3",
    "link-local": "169.254.1.1",
    "metadata": "169.254.169.254",
    "metadata of a task": "169.254.170.2",
    "metadata in CGNAT": "100.100.100.200",
    "metadata that is public": "168.63.129.16",
    "metadata over IPv6": "fd00:ec2::254",
    "CGNAT": "100.64.0.1",
    "multicast": "224.0.0.251",
    "benchmarks": "198.19.255.255",
    "documentation": "203.0.113.5",
    "broadcast": "255.255.255.255",
    "loopback 6": "::1",
    "unspecified 6": "::",
    "unique local": "fc00::1",
    "link-local 6": "fe80::1",
    "site-local": "fec0::1",
    "multicast 6": "ff02::1",
    "documentation 6": "2001:db8::1",
    "mapped": "::ffff:10.0.0.1",
    "compatible": "::10.0.0.1",
    "translated": "::ffff:0:10.0.0.1",
    "6to4": "2002:a00:1::1",
    "NAT64": "64:ff9b::a00:1",
    "NAT64 local": "64:ff9b:1::a00:1",
    "Teredo": "2001:0:4136:e378:8000:63bf:f5ff:fffe",
    "ISATAP": "2606:4700::5efe:a00:1",
}


@pytest.mark.parametrize("address", FAMILIES.values(), ids=FAMILIES)
async def test_no_socket_is_made_for_an_address_of_any_family(address: str) -> None:
    async with egress(allow=[], names=Names([address])) as out:
        bracketed = f"[{address}]" if ":" in address else address
        for host in ("inside.example", bracketed):
            with pytest.raises(EgressRefused) as caught:
                await get(out, f"http://{host}/")
            assert (caught.value.kind, caught.value.timings.connect) == (Kind.NOT_ALLOWED, None)


@pytest.mark.parametrize(
    "host",
    [
        "0177.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "127.1",
        "127.0.0.1.",
        "１２７.0.0.1",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "%31%32%37.0.0.1",
        "127%2e0%2e0%2e1",
        "LOCALHOST",
        "ⓛocalhost",
        "localhost.",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[0:0:0:0:0:ffff:7f00:1]",
        "[::1%25lo]",
        "[fe80::1%25eth0]",
    ],
)
async def test_no_spelling_of_this_machine_reaches_a_listener(host: str) -> None:
    reached: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        reached.append(request.path)
        return web.Response()

    async with serving(answer) as port, egress(allow=[]) as out:
        with pytest.raises(EgressRefused):
            await get(out, f"http://{host}:{port}/")
    assert reached == []


class TwoFaced:
    """A name server's two answers, 127.0.0.2 which may be reached and 127.0.0.1 which may not, with a listener at
    both on one port."""

    def __init__(self) -> None:
        self.reached: list[str] = []
        self.touched = 0

    async def good(self, request: web.BaseRequest) -> web.Response:
        self.reached.append(request.path)
        return web.Response(headers={"Connection": "close"})

    async def listen(self, stack: AsyncExitStack) -> int:
        port = await stack.enter_async_context(serving(self.good, address="127.0.0.2"))
        await self.listen_badly(stack, port)
        return port

    async def listen_badly(self, stack: AsyncExitStack, port: int = 0) -> int:
        bad = await asyncio.start_server(self._touch, "127.0.0.1", port)
        stack.push_async_callback(bad.wait_closed)
        stack.callback(bad.close)
        return int(bad.sockets[0].getsockname()[1])

    def _touch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.touched += 1
        writer.close()


@pytest.mark.parametrize("seconds", [lookups.KEPT_SECONDS, -1], ids=["kept", "not kept"])
async def test_a_name_that_is_bound_anew_never_leads_to_what_may_not_be_reached(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "KEPT_SECONDS", seconds)
    there = TwoFaced()
    names = Names(["127.0.0.2"], ["127.0.0.2"], ["127.0.0.1"])
    async with AsyncExitStack() as stack:
        port = await there.listen(stack)
        out = await stack.enter_async_context(egress(allow=GOOD, names=names))
        url = f"http://rebound.example:{port}"
        assert await out.check_reachable(url) == []
        await get(out, f"{url}/first")
        if seconds < 0:
            with pytest.raises(EgressRefused, match="loopback"):
                await get(out, f"{url}/second")
        else:
            await get(out, f"{url}/second")
    assert there.touched == 0
    assert there.reached == (["/first"] if seconds < 0 else ["/first", "/second"])


async def test_of_a_name_with_both_only_what_may_be_reached_is_connected_to() -> None:
    there = TwoFaced()
    both = Names(["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"])
    async with AsyncExitStack() as stack:
        port = await there.listen(stack)
        for path in ("/a", "/b"):
            async with egress(allow=GOOD, names=both) as out:
                await get(out, f"http://both.example:{port}{path}")
    assert (there.reached, there.touched) == (["/a", "/b"], 0)


async def test_when_what_may_be_reached_is_down_the_other_address_is_still_not_tried() -> None:
    there = TwoFaced()
    async with AsyncExitStack() as stack:
        port = await there.listen_badly(stack)
        out = await stack.enter_async_context(egress(allow=GOOD, names=Names(["127.0.0.2", "127.0.0.1"])))
        with pytest.raises(Exception, match="refused"):
            await get(out, f"http://both.example:{port}/")
    assert there.touched == 0


async def test_a_redirect_to_what_may_not_be_reached_is_not_followed() -> None:
    there = TwoFaced()

    async def lead_astray(request: web.BaseRequest) -> web.Response:
        return web.Response(status=302, headers={"Location": f"http://127.0.0.1:{request.query['to']}/"})

    async with AsyncExitStack() as stack:
        port = await there.listen(stack)
        astray = await stack.enter_async_context(serving(lead_astray, address="127.0.0.2"))
        out = await stack.enter_async_context(egress(allow=GOOD))
        reply = await get(out, f"http://127.0.0.2:{astray}/?to={port}")
    assert (reply.status, reply.headers["location"]) == (302, f"http://127.0.0.1:{port}/")
    assert there.touched == 0


@pytest.mark.parametrize(
    ("port", "service"), [(22, "ssh"), (25, "smtp"), (6667, "irc"), (6669, "irc"), (10080, "amanda")]
)
async def test_ports_of_other_protocols_are_refused_by_name(port: int, service: str) -> None:
    async with egress() as out:
        problem = f"port {port} is for {service}, and may not be reached over HTTP"
        assert out.check_url(f"https://example.com:{port}/") == [problem]
        with pytest.raises(EgressRefused, match=problem) as caught:
            await get(out, f"http://127.0.0.1:{port}/")
    assert caught.value.kind is Kind.NOT_ALLOWED


@pytest.mark.parametrize(
    "name", ["Content-Length", "transfer-encoding", "Connection", "Upgrade", "Expect", "TE", "Proxy-Authorization"]
)
async def test_nobody_says_where_a_request_ends_on_a_connection_that_others_use_too(name: str) -> None:
    reached: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        reached.append(request.path)
        return web.Response()

    async with serving(answer) as port, egress() as out:
        with pytest.raises(EgressRefused, match=f"header {name} belongs to the connection") as caught:
            await out.send(
                "POST",
                f"http://127.0.0.1:{port}/",
                headers={name: "chunked"},
                body=b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
                timeout=5,
                max_bytes=1,
            )
        assert caught.value.kind is Kind.INVALID
        await get(out, f"http://127.0.0.1:{port}/next")
    assert reached == ["/next"]


def test_ports_that_people_use_are_not() -> None:
    ports = (80, 81, 443, 591, 3000, 5000, 5173, 6379, 8000, 8008, 8080, 8443, 8888, 9000, 9090, 9443, 65535)
    assert all(not examine(f"http://example.com:{port}/", ()).problems for port in ports)
    refused = [port for port in range(1, 65536) if examine(f"http://example.com:{port}/", ()).problems]
    assert len(refused) == 82


def test_the_system_does_not_know_more_spellings_than_we_do() -> None:
    """What the resolver of this system takes for an address without asking anybody is one for us too."""
    for host in ("127.1", "0x7f.1", "0177.1", "2130706433", "127.0.0.1", "::1"):
        assert socket.getaddrinfo(host, 80, flags=socket.AI_NUMERICHOST)
        assert examine(f"http://[{host}]/" if ":" in host else f"http://{host}/", ()).problems
