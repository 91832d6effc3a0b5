"""What engines and dashboards ask of the rows of executions."""

from __future__ import annotations

from pathlib import Path

from executor.domain.values import LIVE_STATUSES, ExecutionStatus, plus
from executor.ports import Claimable, ExecutionStats, Store
from tests.contract.conftest import Opener, opened
from tests.contract.notes import START, Author, SetClock


async def claimable(store: Store, author: Author, limit: int = 100) -> list[str]:
    return [found.id for found in await store.reads.claimable(author.clock.now(), limit)]


async def test_stats_count_all_and_those_that_ended(store: Store, author: Author) -> None:
    for status in ExecutionStatus:
        await author.run(f"a-{status}", workflow_id="A", status=status.value)
    last = author.clock.move(60)
    await author.run("a-more", workflow_id="A", status="completed")
    await author.run("b", workflow_id="B", status="running")
    stats = await store.reads.execution_stats(["A", "B", "C"])
    ended = len(ExecutionStatus) - len(LIVE_STATUSES)
    assert stats == {
        "A": ExecutionStats(len(ExecutionStatus) + 1, ended + 1, 2, last),
        "B": ExecutionStats(1, 0, 0, last),
    }
    assert await store.reads.execution_stats([]) == {}


async def test_stats_follow_a_run_as_it_goes_on(store: Store, author: Author) -> None:
    for status, expected in (("queued", (0, 0)), ("running", (0, 0)), ("completed", (1, 1))):
        await author.run("a", workflow_id="A", status=status)
        stats = (await store.reads.execution_stats(["A"]))["A"]
        assert (stats.total, stats.ended, stats.succeeded) == (1, *expected)


async def test_stats_of_many_workflows(store: Store, author: Author) -> None:
    await author.run("a", workflow_id="W1500")
    stats = await store.reads.execution_stats([f"W{number}" for number in range(2500)])
    assert list(stats) == ["W1500"]


async def test_a_run_can_be_claimed_when_its_time_has_come(store: Store, author: Author) -> None:
    await author.run("due", runnable_at=START)
    await author.run("later", runnable_at=plus(START, 10))
    await author.run("never")
    assert await claimable(store, author) == ["due"]
    assert await store.reads.next_runnable_at(START) == plus(START, 10)
    author.clock.move(10)
    assert await claimable(store, author) == ["due", "later"]
    assert await store.reads.next_runnable_at(author.clock.now()) is None


async def test_a_parked_run_is_not_claimable_any_more(store: Store, author: Author) -> None:
    await author.run("a", runnable_at=START)
    await author.run("a", runnable_at=None, status="running")
    assert await claimable(store, author) == []
    assert await store.reads.next_runnable_at("") is None  # type: ignore[arg-type]


async def test_the_urgent_come_first_and_then_the_oldest(store: Store, author: Author) -> None:
    for id, priority in (("d", 5), ("a", 1), ("c", 10), ("b", 5), ("e", 10)):
        await author.run(id, runnable_at=START, priority=priority)
    assert await claimable(store, author) == ["c", "e", "b", "d", "a"]
    assert await claimable(store, author, limit=2) == ["c", "e"]


async def test_what_a_living_engine_holds_is_not_claimable(store: Store, author: Author) -> None:
    engines = store.ledgers.engines
    await author.run("free", runnable_at=START)
    await author.run("held", runnable_at=START, engine="E1")
    await author.run("orphan", runnable_at=START, engine="gone", priority=1)
    await engines.beat("E1", 30)
    found = await store.reads.claimable(author.clock.now(), 10)
    assert found == [Claimable("free", None, 5), Claimable("orphan", "gone", 1)]
    await engines.beat("E1", 30)
    assert "held" not in await claimable(store, author)
    await engines.beat("E1", 0)
    assert "held" in await claimable(store, author)


async def test_an_engine_that_leaves_gives_its_runs_up_at_once(store: Store, author: Author) -> None:
    engines = store.ledgers.engines
    for engine in ("E1", "E2", "E3"):
        await author.run(f"of {engine}", runnable_at=START, engine=engine)
        await engines.beat(engine, 30)
    assert await claimable(store, author) == []
    await engines.leave("E2")
    await engines.leave("nobody")
    assert await claimable(store, author) == ["of E2"]
    await engines.leave_all()
    assert await claimable(store, author) == ["of E1", "of E2", "of E3"]


async def test_engines_live_from_a_beat_to_their_end_or_its_time(store: Store) -> None:
    engines = store.ledgers.engines
    assert await engines.alive() == 0
    for engine, ttl in (("E1", 30), ("E2", 60), ("E3", 60)):
        await engines.beat(engine, ttl)
        await engines.beat(engine, ttl)
    assert await engines.alive() == 3
    await engines.leave("E3")
    assert await engines.alive() == 2
    await engines.beat("E1", 0)
    assert await engines.alive() == 1
    await engines.leave_all()
    assert await engines.alive() == 0


async def test_beats_outlive_a_restart(opener: Opener, tmp_path: Path, clock: SetClock) -> None:
    async with opened(opener, tmp_path, clock) as store:
        await Author(store.log, clock).run("a", runnable_at=START, engine="E1")
        await store.ledgers.engines.beat("E1", 30)
    async with opened(opener, tmp_path, clock) as store:
        assert await store.reads.claimable(START, 10) == []
        await store.ledgers.engines.leave_all()
        assert len(await store.reads.claimable(START, 10)) == 1
