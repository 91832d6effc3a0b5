"""The ways in which logs on PostgreSQL lose events, and a client that cannot tell whether its append happened."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from itertools import count

import asyncpg
import pytest

from executor.clock import SystemClock
from executor.domain.errors import Unavailable
from executor.ports import MOVED, Conflict, Metadata, Recorded, Store
from storage.aggregates import Aggregates
from storage.codec import verify
from storage.open import open_store
from storage.plan import prepare
from storage.postgres.batch import Appender
from storage.sql import named
from tests.contract.notes import AGGREGATES, CODEC, Author
from tests.contract.test_tail import follow
from tests.integration.cutting import proxied
from tests.integration.hubs import ROOT, end, environment, until
from tests.postgres import PostgresServer

CLOCK = SystemClock()
BEGIN, LOCK = (named("storage.postgres")[name] for name in ("begin", "lock_log"))


@contextlib.asynccontextmanager
async def processes(url: str, count: int = 2) -> AsyncIterator[list[Store]]:
    """As many stores as there would be processes."""
    async with AsyncExitStack() as stack:
        stores = []
        for _ in range(count):
            store = await open_store(url, AGGREGATES, clock=CLOCK, codec=CODEC)
            stack.push_async_callback(store.close)
            stores.append(store)
        yield stores


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def author(store: Store) -> Author:
    return Author(store.log, CLOCK)  # type: ignore[arg-type]


async def is_waiting(url: str) -> bool:
    """Somebody waits for a lock of this database."""
    async with connected(url) as connection:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return bool(await connection.fetchval(sql))


async def proved(store: Store) -> list[Recorded]:
    """The whole log, and its chain is whole."""
    recorded = await follow(store, 0, await store.log.refresh())
    verify(recorded)
    return recorded


async def test_writers_of_several_processes_commit_in_the_order_of_positions(postgres_url: str) -> None:
    async with processes(postgres_url, 3) as stores:
        tails = [asyncio.ensure_future(follow(store, 0, 600)) for store in stores]

        async def storm(store: Store, stream: int) -> None:
            for turn in range(20):
                await author(store).write(f"{stream}", f"{turn}")

        await asyncio.gather(*(storm(stores[stream % 3], stream) for stream in range(30)))
        for tail in tails:
            assert [event.position for event in await tail] == list(range(1, 601))
        await proved(stores[0])


async def test_who_comes_second_waits_for_the_first_and_nobody_sees_a_gap(postgres_url: str) -> None:
    async with processes(postgres_url) as (one, two), connected(postgres_url) as first:
        await author(one).write("a", "x")
        await first.execute("BEGIN")
        knows = Appender(Aggregates(AGGREGATES, CODEC), CLOCK)
        part = author(one).part("early", "of the first")
        written = await knows.write(first, [prepare([part], Metadata(), Aggregates(AGGREGATES, CODEC), CODEC)])
        second = asyncio.ensure_future(author(two).write("b", "of the second"))
        await until(lambda: is_waiting(postgres_url))
        assert await one.log.refresh() == await two.log.refresh() == 1
        assert not second.done()
        await first.execute(written.end)
        assert (await second).recorded[0].position == 3
        assert [event.stream for event in await proved(one)] == ["note:a", "note:early", "note:b"]


async def test_a_transaction_that_began_early_and_appends_late_is_not_missed(postgres_url: str) -> None:
    async with processes(postgres_url) as (store, other), connected(postgres_url) as early:
        await early.execute("BEGIN")
        await early.execute("INSERT INTO key_use (id, used_at) VALUES ('x', 'y')")  # it has its transaction id now
        old_id = CLOCK.new_id()
        await author(store).write("a", "1", "2")
        assert len(await follow(other, 0, 2)) == 2, "what was appended since is visible while the early one is open"
        knows = Aggregates(AGGREGATES, CODEC)
        part = author(store).part("late", "3", ids=[old_id])
        written = await Appender(knows, CLOCK).write(early, [prepare([part], Metadata(), knows, CODEC)])
        tail = asyncio.ensure_future(follow(other, 2, 4))
        await early.execute(written.end)
        await author(store).write("a", "4")
        assert [event.position for event in await tail] == [3, 4]
        assert [event.id for event in await proved(other)][2] == old_id


async def test_an_open_transaction_in_another_database_holds_nobody_up(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    async with postgres_server.database() as elsewhere, connected(elsewhere) as other:
        await other.execute("CREATE TABLE t (x int)")
        async with other.transaction():
            await other.execute("INSERT INTO t VALUES (1)")
            async with processes(postgres_url) as (one, two):
                await author(one).write("a", "x")
                assert len(await follow(two, 0, 1)) == 1


async def test_who_waits_may_be_cancelled_and_the_flush_goes_on(postgres_url: str) -> None:
    async with processes(postgres_url, 1) as (store,), connected(postgres_url) as holder:
        transaction = holder.transaction()
        await transaction.start()
        await holder.fetch(LOCK)
        # New streams, so that each is submitted at once: who is cancelled while it still loads has appended nothing.
        parts = [(author(store).part(f"{number}", "x"),) for number in range(10)]
        works = [asyncio.ensure_future(store.log.append(part)) for part in parts]
        await until(lambda: is_waiting(postgres_url))
        for work in works[:9]:
            work.cancel()
        await asyncio.gather(*works[:9], return_exceptions=True)
        await transaction.rollback()
        await works[9]
        assert len(await proved(store)) == 10, "an append whose caller went away happens all the same"
        await author(store).write("after", "x")


@pytest.mark.parametrize("after", [b"COMMIT", b"BEGIN"])
async def test_a_connection_cut_before_the_answer_gives_the_first_result(
    postgres_server: PostgresServer, postgres_url: str, after: bytes
) -> None:
    async with proxied(postgres_url, postgres_server.directory) as proxy, processes(proxy.url, 1) as (store,):
        writer = author(store)
        await writer.write("warm", "x")
        part = writer.part("a", "one", "two")
        proxy.cut_after(after)
        (done,) = await store.log.append((part,))
        assert proxy.cuts == 1
        assert [event.position for event in done.recorded] == [2, 3]
        assert (done.version, done.state.texts) == (2, ("one", "two"))
        (again,) = await store.log.append((part,))
        assert (again.recorded, again.state, again.repeated) == (done.recorded, done.state, True)
        with pytest.raises(Conflict):
            await store.log.append((writer.part("a", "three"),))
        assert len(await proved(store)) == 3


async def test_a_process_that_is_frozen_with_the_log_in_its_hands_frees_it(postgres_url: str) -> None:
    async with processes(postgres_url, 1) as (store,):
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "tests" / "integration" / "frozen_child.py"),
            postgres_url,
            env=environment(),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert child.stdout is not None
            assert await child.stdout.readline() == b"holds\n"
            async with asyncio.timeout(30):
                done = await author(store).write("a", "x")
            assert done.recorded[0].position == 1, "the frozen one's batch is gone"
            child.send_signal(signal.SIGCONT)
            async with asyncio.timeout(30):
                assert await child.stdout.readline() == b"2\n", (
                    "woken, it appends under its own ids, after the others"
                )
                assert await child.wait() == 0
        finally:
            await end(child)
        assert [event.stream for event in await proved(store)] == ["note:a", "note:frozen"]


async def test_a_process_that_is_frozen_at_any_message_of_an_append_frees_the_log(
    postgres_server: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(named("storage.postgres"), "begin", BEGIN.replace("'5s'", "'50ms'"))
    async with (
        proxied(postgres_url, postgres_server.directory) as proxy,
        processes(proxy.url, 1) as (frozen,),
        processes(postgres_url, 1) as (other,),
    ):
        for messages in count():
            part = author(frozen).part(f"frozen-{messages}", *(f"{number}" for number in range(100)))
            async with proxy.frozen_after(messages) as is_frozen:
                appending = asyncio.ensure_future(frozen.log.append((part,)))
                freezing = asyncio.ensure_future(is_frozen.wait())
                await asyncio.wait([appending, freezing], return_when=asyncio.FIRST_COMPLETED)
                freezing.cancel()
                if appending.done():
                    break
                async with asyncio.timeout(5):
                    await author(other).write(f"other-{messages}", "x")
            (done,) = await appending
            assert not done.repeated
        assert messages > 3, "begin, the lock, the events, the commit"
        await proved(other)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One to be killed. It waits for the disk, as outside of tests."""
    server = PostgresServer(is_durable=True)
    server.start()
    yield server
    server.remove()


async def test_a_server_that_crashes_loses_nothing_that_was_acknowledged(server: PostgresServer) -> None:
    acknowledged: list[Recorded] = []
    enough, stop = asyncio.Event(), asyncio.Event()

    async def storm(store: Store, stream: int) -> None:
        number = 0
        while not stop.is_set():
            try:
                acknowledged.extend((await author(store).write(f"{stream}", f"{number}")).recorded)
                number += 1
            except (Unavailable, Conflict):
                await asyncio.sleep(0.05)
            if number % 25 == 0:
                enough.set()

    async with server.database() as url, processes(url) as stores:
        storms = [asyncio.ensure_future(storm(stores[stream % 2], stream)) for stream in range(8)]
        for _ in range(2):
            await enough.wait()
            await asyncio.to_thread(server.kill)
            with pytest.raises(Unavailable):
                await stores[0].ping()
            await asyncio.to_thread(server.start)
            enough.clear()
            await enough.wait()
        stop.set()
        await asyncio.gather(*storms)
        there = {event.position: event for event in await proved(stores[0])}
        assert all(there[event.position] == event for event in acknowledged)
        assert list(there) == list(range(1, len(there) + 1))


async def backends(url: str) -> list[int]:
    """The server's processes that serve ours in this database."""
    async with connected(url) as connection:
        found = await connection.fetch(
            "SELECT pid FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE 'runcast %'"
        )
    return [row[0] for row in found]


async def test_who_is_cancelled_while_the_server_does_not_answer_ends_at_once(postgres_url: str) -> None:
    """A part that goes on after it was told to end would keep its process alive."""
    async with processes(postgres_url, 1) as (store,):
        await store.ledgers.leases.take("L", "first", 60)
        waiting = [
            asyncio.create_task(work)
            for work in (
                store.ledgers.leases.take("L", "second", 60),
                store.ledgers.deliveries.fan_out("C", 0, 1, []),
                store.reads.claimable(CLOCK.now(), 10),
                author(store).write("N", "lost"),
            )
        ]
        stopped = await backends(postgres_url)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(0)
            for task in waiting:
                task.cancel()
            async with asyncio.timeout(10):
                came = await asyncio.gather(*waiting, return_exceptions=True)
                await store.close()
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        assert all(isinstance(each, asyncio.CancelledError) or not isinstance(each, Exception) for each in came), came


async def test_a_hub_that_was_moved_away_takes_no_more_from_those_who_have_not_heard(postgres_url: str) -> None:
    async with processes(postgres_url) as (here, unaware):
        await author(unaware).write("N", "before")
        await here.copying.mark({MOVED: "was moved elsewhere"})
        with pytest.raises(Unavailable, match="was moved elsewhere"):
            await author(unaware).write("N", "after")
        await here.copying.mark({MOVED: None})
        await author(unaware).write("N", "after")
        assert unaware.log.head == 2


async def test_a_transaction_that_is_frozen_lets_go_of_what_it_locked(postgres_url: str) -> None:
    async with processes(postgres_url, 1) as (store,):
        pool = store._pool  # type: ignore[attr-defined]

        async def frozen() -> None:
            async with pool.transaction() as connection:
                assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "5s"
                await connection.execute("SET LOCAL idle_in_transaction_session_timeout = '50ms'")
                await connection.execute("LOCK TABLE deliveries")
                async with connected(postgres_url) as other, other.transaction():
                    await other.execute("LOCK TABLE deliveries")

        with pytest.raises(Unavailable):
            await frozen()
