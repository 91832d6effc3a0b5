"""What benchmarks measure can be measured, in the smallest way there is: that of `steps.py` in this process on a real
store, that of the socket on a whole hub in a process of its own, beside one peer, and that of webhooks on the same
hub."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import websockets.frames
from hypothesis import given, strategies

from executor.clock import SystemClock
from executor.ports import DeliveryQuery
from hub.aggregates import AGGREGATES
from storage.open import open_store
from tests.integration.hubs import ROOT


@pytest.fixture
def measures(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What the command's child processes run; its neighbours are found as where it is started."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    return importlib.import_module("measures")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/runcast.db"


@pytest.mark.parametrize(("type", "gaps"), [("timed", 2 * 3), ("transform", 0)])
async def test_steps_and_what_lies_between_them(measures: ModuleType, url: str, type: str, gaps: int) -> None:
    found = await measures.runs(url, type, 2, 4)
    assert found["per_second"] > 0
    assert len(found["gaps"]) == gaps
    assert all(gap > 0 for gap in found["gaps"])


async def test_durable_appends(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    found = await importlib.import_module("append").measure(url, 2, 8)
    assert found.per_second > 0
    assert 1 <= found.batch <= 2


async def test_runs_that_wait(measures: ModuleType, url: str) -> None:
    found = await measures.memory(url, 5)
    assert found["took"] > 0
    assert min(found["empty"], found["half"], found["full"]) > 2**20


async def test_a_join(measures: ModuleType, url: str) -> None:
    found = await measures.join(url, 5)
    assert found["took"] > 0
    assert 0 <= found["longest"] < found["took"]


@pytest.mark.parametrize("shape", ["sequence", "loop"])
async def test_the_cost_of_a_step_by_the_history_before_it(measures: ModuleType, url: str, shape: str) -> None:
    found = await measures.history(url, shape, [2, 4, 6])
    assert len(found["costs"]) == len(found["cpu"]) == 4
    assert all(cost > 0 for cost in found["costs"] + found["cpu"])


@pytest.mark.parametrize("shape", ["sequence", "loop"])
async def test_a_run_that_was_left_in_the_middle_is_taken_over(measures: ModuleType, url: str, shape: str) -> None:
    async with measures.opened(url) as bench, bench.running():
        await bench.create(bench.compiled(measures.LONG[shape](200)))
        await bench.happening("component.completed", 2, 0)
    found = await measures.takeover(url)
    assert found["took"] > 0


@pytest.fixture(scope="module")
def sockets() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
        yield importlib.import_module("subscribers")


@pytest.fixture(scope="module")
def servers(sockets: ModuleType) -> Iterator[list[Any]]:
    """A hub and a peer that needs no extra, without subscribers."""
    with sockets.started(("runcast", "starlette")) as servers:
        yield servers


def sent(size: int, opcode: int = 1) -> bytes:
    """A server's frame."""
    return websockets.frames.Frame(websockets.frames.Opcode(opcode), bytes(size)).serialize(mask=False)


SIZES = strategies.lists(strategies.sampled_from([1, 125, 126, 370, 370, 370, 371, 70_000]), max_size=30)
PARTS = strategies.lists(strategies.one_of(strategies.just(None), SIZES), max_size=8)


@given(parts=PARTS, cuts=strategies.lists(strategies.integers(0, 2**17), max_size=20))
def test_a_receiver_counts_every_frame_and_sees_every_ping(
    sockets: ModuleType, parts: list[list[int] | None], cuts: list[int]
) -> None:
    """Whatever it reads at once. `None` stands for a ping."""
    frames, pings = importlib.import_module("frames"), list[bytes]()
    counted = frames.Frames()
    stream = b"".join(sent(4, 9) if part is None else b"".join(map(sent, part)) for part in parts)
    bounds = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for start, end in pairwise(bounds):
        buffer = bytearray(frames.ROOM) + stream[start:end]
        pings += counted.take(buffer, len(buffer))
    sizes = [size for part in parts if part is not None for size in part]
    assert (counted.count, counted.payload) == (len(sizes), sum(sizes))
    assert pings == [bytes(4)] * parts.count(None)
    assert not counted.left
    assert not counted.carry


def cells(table: Any, column: str) -> list[str]:
    (found,) = [each for each in table.columns if each.header == column]
    return list(found.cells)


def test_fan_out_to_one_channel_and_to_many(servers: list[Any]) -> None:
    fanout = importlib.import_module("fanout")
    for made in fanout.one_channel(servers, [3], 1, 0.01):
        assert cells(made, "server") == ["Runcast", "Starlette"]
        assert all(rate != "0" for rate in cells(made, "deliveries/s"))
    made = fanout.many_channels(servers, 3, 1, events=2)
    assert cells(made, "subscribers") == ["3", "3"]
    assert all(rate != "0" for rate in cells(made, "deliveries/s"))


def test_the_latency_of_every_delivery(servers: list[Any]) -> None:
    latency = importlib.import_module("latency")
    made = latency.measure(servers, 3, [300], 0.1, 1, sample=1)
    assert cells(made, "server") == ["Runcast", "Starlette"]
    assert all(float(wait) >= 0 for part in latency.PARTS for wait in cells(made, f"{part} since due"))


def test_a_sample_of_deliveries_says_how_long_they_took(servers: list[Any], sockets: ModuleType) -> None:
    latency, ours = importlib.import_module("latency"), servers[0]
    with sockets.connected([ours], 3):
        found = latency.at_rate(ours, 300, 0.1, sample=1)
    assert len(found.since_call) == found.deliveries == 30
    assert all(0 < call <= due for call, due in zip(found.since_call, found.since_due, strict=True))


def test_the_cost_of_idle_connections(servers: list[Any]) -> None:
    connections = importlib.import_module("connections")
    found = connections.idle(servers, 5, 0.1, warm=2, pause=0.05)
    assert set(found) == {"Runcast", "Starlette"}
    assert all(one.rate > 0 and one.connect_cpu > 0 for one in found.values())


@pytest.mark.parametrize("channels", [1, 5])
def test_clients_that_were_cut_off_come_back_and_miss_nothing(servers: list[Any], channels: int) -> None:
    found = importlib.import_module("connections").storm(servers[0], 5, 4, channels)
    assert 0 < found.connected <= found.took


def test_a_client_that_misses_a_message_is_found(servers: list[Any], sockets: ModuleType) -> None:
    connections, ours = importlib.import_module("connections"), servers[0]
    with sockets.connected([ours], 2):
        since = ours.peer.head
        ours.process.ask("expect", **ours.peer.goal(3), keeps=True)
        ours.peer.burst(3)
        ours.process.ask("wait", seconds=10)
        connections.require_whole(ours.process, 2, 3, since, 1)
        with pytest.raises(SystemExit, match="not got exactly"):
            connections.require_whole(ours.process, 2, 4, since, 1)


@pytest.fixture(scope="module")
def receiver(sockets: ModuleType) -> Iterator[Any]:
    with importlib.import_module("endpoints").receiver() as receiver:
        yield receiver


@pytest.fixture
def delivering(servers: list[Any]) -> Any:
    return importlib.import_module("endpoints").Delivering(servers[0].peer)


def test_deliveries_a_second_beside_what_posts_as_fast_as_it_can(delivering: Any, receiver: Any) -> None:
    rates, children = importlib.import_module("rates"), importlib.import_module("children")
    sizes = rates.Sizes(deliveries=40, posts=10, jobs=5, at_once=3, rounds=1)
    with children.running(*children.script("posters.py")) as peers:
        made = rates.in_turns(rates.Bench(delivering, peers, receiver, sizes), sizes, (1, 2))
    assert cells(made, "deliveries") == ["40", "40", "10", "5", "5"]
    assert all(float(rate) > 0 for rate in cells(made, "of bare"))


def test_how_long_an_event_takes_to_arrive(delivering: Any, receiver: Any) -> None:
    arrivals = importlib.import_module("arrivals")
    with delivering.endpoints([{"url": receiver.url(0)}]):
        rate, *waits, _, _ = arrivals.arrive(delivering, receiver, arrivals.Stream(200, 10))
    assert rate != "0"
    median, _, longest, median_since_due, _ = map(float, waits)
    assert 0 < median <= min(longest, median_since_due)


def test_endpoints_that_answer_beside_one_that_hangs(delivering: Any, receiver: Any) -> None:
    crowds = importlib.import_module("crowds")
    crowd = crowds.Crowd(healthy=3, hanging=1, rate=100, seconds=1)
    *sizes, arrivals, missing, median, _, longest, hung, _ = crowds.through(delivering, receiver, crowd, late=10)
    receiver.process.ask("let_go")
    assert (sizes, arrivals, missing, hung) == (["3", "1", "100", "1"], "15", "0", "5")
    assert 0 < float(median) <= float(longest)


def test_what_never_arrives_is_longer_than_all_that_does(sockets: ModuleType) -> None:
    arrivals = importlib.import_module("arrivals")
    assert arrivals.quantiles([10**6, 2 * 10**6], missing=1) == ["2.0", "never", "never"]


async def test_claims_and_settlements_beside_what_has_succeeded(sockets: ModuleType, url: str) -> None:
    ledgers, clock = importlib.import_module("ledger"), SystemClock()
    store = await open_store(url, AGGREGATES, clock=clock)
    try:
        ledger = ledgers.Ledger(url, store, clock)
        await ledger.fill(300)
        found = await ledger.measure(2)
        (first, *_), deliveries = ledger.webhooks, store.ledgers.deliveries
        query = DeliveryQuery(organization_id=ledger.organization, webhook_id=first, limit=1000)
        delivered = await deliveries.find(query)
        attempts = await deliveries.attempts([each.id for each in delivered])
    finally:
        await store.close()
    assert len(delivered) == (100 + 300 + 2 * 100) / len(ledger.webhooks)
    assert {each.status for each in delivered} == {"succeeded"}
    assert len(attempts) == len(delivered)
    assert all(seconds > 0 for each in found.values() for seconds in each)


def test_a_receiver_counts_what_comes_in_pieces_and_what_comes_again(sockets: ModuleType) -> None:
    posted = importlib.import_module("posted")
    stream = b"".join(
        b"POST /%d HTTP/1.1\r\nwebhook-id: %d\r\nContent-Length: %d\r\n\r\n%s" % (path, id, size, bytes(size))
        for path, id, size in ((0, 1, 0), (0, 2, 300), (1, 2, 1), (0, 1, 5))
    )
    for step in (1, 7, 1000):
        all, wire = posted.Posted(), Wire()
        connection = posted.Connection(all)
        connection.connection_made(wire)
        for at in range(0, len(stream), step):
            connection.data_received(stream[at : at + step])
        assert (len(all.seen), all.seen.total(), wire.answers) == (3, 4, 4)


class Wire:
    """A transport that counts what is written."""

    answers = 0

    def write(self, data: bytes) -> None:
        self.answers += data.count(b"HTTP/1.1 200 OK")


def test_the_benchmark_of_webhooks_does_not_stand_before_the_room(sockets: ModuleType) -> None:
    """It has the room's name, and the programs beside it look where it stands first."""
    spec = importlib.util.spec_from_file_location("webhooks", ROOT / "benchmarks" / "webhooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert list(module.__path__) == [str(ROOT / "webhooks")]
