from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from executor import lookups
from executor.egress import EgressTimeout
from executor.lookups import Lookups, ThreadResolver
from tests.unit.executor.outside import Names, egress, get, serving


class Internet:
    """What getaddrinfo asks: names that begin with `slow` hang until they are let go."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.let_go = threading.Event()
        self.address = "127.0.0.1"

    def __call__(self, host: str, family: socket.AddressFamily) -> list[Any]:
        self.asked[host] += 1
        if host.startswith("slow"):
            self.let_go.wait()
        if host.startswith("none"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.address, 0))]


@pytest.fixture
def internet() -> Iterator[Internet]:
    made = Internet()
    yield made
    made.let_go.set()


async def asked(internet: Internet, count: int) -> None:
    while internet.asked.total() < count:
        await asyncio.sleep(0.001)


async def test_a_hundred_who_ask_for_one_name_are_one_look_up(internet: Internet) -> None:
    names = Lookups(ThreadResolver(internet))
    asking = [asyncio.create_task(names.resolve("slow.example", port)) for port in range(100)]
    await asked(internet, 1)
    internet.let_go.set()
    answers = await asyncio.gather(*asking)
    assert internet.asked == {"slow.example": 1}
    assert [answer[0]["port"] for answer in answers] == list(range(100))
    await names.close()


async def test_who_is_cancelled_does_not_end_the_look_up_for_others(internet: Internet) -> None:
    names = Lookups(ThreadResolver(internet))
    first, second = (asyncio.create_task(names.resolve("slow.example")) for _ in range(2))
    await asked(internet, 1)
    first.cancel()
    internet.let_go.set()
    assert (await second)[0]["host"] == "127.0.0.1"
    assert first.cancelled() or first.cancelling()
    await names.close()


async def test_an_answer_is_kept_for_some_seconds_and_not_longer(
    internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Lookups(ThreadResolver(internet))
    for _ in range(3):
        await names.resolve("a.example")
    assert internet.asked["a.example"] == 1
    internet.address = "127.0.0.2"
    assert (await names.afresh("a.example"))[0]["host"] == "127.0.0.2"
    assert (await names.resolve("a.example"))[0]["host"] == "127.0.0.1"
    monkeypatch.setattr(lookups, "KEPT_SECONDS", -1)
    for _ in range(2):
        await names.resolve("b.example")
    assert internet.asked == {"a.example": 2, "b.example": 2}
    await names.close()


async def test_that_there_is_no_answer_is_not_kept(internet: Internet) -> None:
    names = Lookups(ThreadResolver(internet))
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await names.resolve("none.example")
    assert internet.asked["none.example"] == 2
    await names.close()


async def test_what_is_kept_is_judged_again_whenever_it_is_used() -> None:
    names = Names(["127.0.0.1"])
    async with egress(allow=[], names=names) as out:
        for _ in range(2):
            with pytest.raises(Exception, match="resolves to an address that is loopback"):
                await get(out, "http://inside.example/")
    assert names.asked == 1


async def test_a_thousand_names_that_hang_hold_up_neither_known_nor_new_ones(internet: Internet) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(text="here")

    resolver = ThreadResolver(internet, patience=0.02)
    async with serving(answer) as port, egress(names=resolver) as out:
        await resolver.resolve("known.example")
        late = [
            asyncio.create_task(get(out, f"http://slow{number}.example:{port}/", timeout=60))
            for number in range(1000)
        ]
        await asked(internet, 60)
        for host in ("known.example", "new.example"):
            assert (await get(out, f"http://{host}:{port}/", timeout=30)).body == b"here"
        assert all(not each.done() for each in late)
        for each in late:
            each.cancel()
        await asyncio.gather(*late, return_exceptions=True)
    assert max(internet.asked.values()) <= 2


async def test_a_name_that_hung_is_asked_for_beside_the_others_and_not_twice_at_once(internet: Internet) -> None:
    async with egress(names=ThreadResolver(internet, patience=0.01)) as out:
        for _ in range(3):
            with pytest.raises(EgressTimeout, match="looking the name up"):
                await get(out, "http://slow.example/", timeout=0.05)
    assert internet.asked["slow.example"] == 1


async def test_slow_names_wait_for_each_other_alone(internet: Internet) -> None:
    """Known to be slow, they stay within their own places, and no thread is started for those that wait."""
    resolver = ThreadResolver(internet, patience=0.001)
    names = [f"slow{number}.example" for number in range(100)]
    first = [asyncio.create_task(resolver.resolve(name)) for name in names]
    while resolver.hanging < len(names):
        await asyncio.sleep(0.001)
    internet.let_go.set()
    await asyncio.gather(*first)
    internet.let_go.clear()
    internet.asked.clear()
    again = [asyncio.create_task(resolver.resolve(name)) for name in names]
    await asked(internet, 64)
    assert (await resolver.resolve("known.example"))[0]["host"] == "127.0.0.1"
    assert internet.asked.total() == 65
    internet.let_go.set()
    await asyncio.gather(*again)


async def test_more_names_than_can_be_kept_track_of_are_refused(
    internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "MOST_UNDER_WAY", 1)
    names = Lookups(ThreadResolver(internet))
    asking = asyncio.create_task(names.resolve("slow.example"))
    await asked(internet, 1)
    with pytest.raises(OSError, match="too many"):
        await names.resolve("other.example")
    await names.close()
    assert asking.cancelled() or await asyncio.gather(asking, return_exceptions=True)
