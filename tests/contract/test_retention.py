"""The ledger of what was archived: whose events may be blanked, and what is left of them."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import structs

from executor.domain.execution.rows import ExecutionRow
from executor.domain.values import Instant, plus
from executor.ports import Archived, Attempt, Delivery, ExecutionStats, Organization, Replay, Settled, Store
from storage.codec import digest
from tests.contract.notes import ORG, START, Author, RunChanged

BEGINNING = (Instant(""), "")
ENDED = plus(START, 10)
LATER = plus(START, 1000)


async def run(author: Author, id: str, **row: Any) -> None:
    """An execution of two events, which ended unless `row` says else."""
    more = {"execution_id": id, "workflow_id": row.get("workflow_id", "w")}
    more["organization_id"] = row.get("organization_id", ORG)
    fields = {"status": "completed", "completed_at": ENDED} | row
    await author.write(f"execution:{id}", RunChanged(row={"workflow_id": more["workflow_id"]}), **more)
    await author.write(f"execution:{id}", RunChanged(row=fields), **more)


async def pass_by(store: Store) -> None:
    """The fan-out comes to the head."""
    deliveries = store.ledgers.deliveries
    await deliveries.fan_out("fanout", await deliveries.checkpoint("fanout"), store.log.head, [])


async def ids(store: Store, limit: int = 100) -> list[str]:
    return [each.execution_id for each in await store.ledgers.retention.ended(LATER, BEGINNING, limit)]


async def archived(store: Store, id: str) -> Archived:
    """What the ledger is to keep of an execution as it is now."""
    row = await store.reads.get(ExecutionRow, id)
    events = await store.ledgers.retention.events(id)
    assert row is not None
    return Archived(
        execution_id=id,
        organization_id=row.organization_id,
        workflow_id=row.workflow_id,
        status=row.status,
        created_at=row.created_at,
        completed_at=row.completed_at or LATER,
        version=row.version,
        first_position=events[0].position,
        last_position=events[-1].position,
        archived_at=LATER,
        file="2026-01-31.ndjson.gz",
    )


def delivery(position: int, status: str = "pending") -> Delivery:
    return Delivery(
        id=f"D{position}",
        organization_id=ORG,
        webhook_id="W",
        shard=0,
        event_id="E",
        event="execution.completed",
        position=position,
        status=status,
        next_attempt_at=START if status == "pending" else None,
        created_at=START,
    )


def settled(of: Delivery) -> Settled:
    attempt = Attempt(
        delivery_id=of.id, attempt=1, started_at=START, duration_ms=1, status_code=200, error=None, response_body="ok"
    )
    return Settled(
        webhook_id=of.webhook_id, attempt=attempt, status="succeeded", next_attempt_at=None, completed_at=LATER
    )


async def test_only_what_ended_before_the_time_is_due_oldest_first(store: Store, author: Author) -> None:
    await run(author, "b", completed_at=plus(START, 1))
    await run(author, "a", completed_at=plus(START, 2), status="failed")
    await run(author, "c", completed_at=plus(START, 2), status="cancelled")
    await run(author, "later", completed_at=LATER)
    await run(author, "live", completed_at=None, status="running")
    await pass_by(store)
    assert await ids(store) == ["b", "a", "c"]
    first, *_ = await store.ledgers.retention.ended(LATER, BEGINNING, 1)
    assert first == ("b", ORG, "w", "completed", START, plus(START, 1), 2)
    rest = await store.ledgers.retention.ended(LATER, (first.completed_at, first.execution_id), 1)
    assert [each.execution_id for each in rest] == ["a"]


async def test_nothing_is_due_that_the_fan_out_has_not_passed(store: Store, author: Author) -> None:
    await run(author, "a")
    assert await ids(store) == []
    await store.ledgers.deliveries.fan_out("fanout", 0, 1, [])
    assert await ids(store) == []
    await pass_by(store)
    assert await ids(store) == ["a"]


async def test_nothing_is_due_that_a_delivery_waits_for(store: Store, author: Author) -> None:
    await run(author, "a")
    await run(author, "b")
    await pass_by(store)
    await store.ledgers.deliveries.add([delivery(1), delivery(3, "succeeded")])
    assert await ids(store) == ["b"]
    await store.ledgers.deliveries.cancel_waiting("W", LATER)
    assert await ids(store) == ["a", "b"]


async def test_nothing_is_due_that_a_replay_has_still_to_come_by(store: Store, author: Author) -> None:
    await run(author, "a")
    await run(author, "b")
    await run(author, "c", organization_id="another")
    await pass_by(store)
    wanted = [await archived(store, id) for id in ("a", "b", "c")]
    replays = store.ledgers.replays
    replay = Replay(
        id="R",
        organization_id=ORG,
        webhook_id=None,
        first=1,
        last=3,
        position=0,
        created_by="nobody",
        created_at=START,
    )
    await replays.add(replay)
    assert await ids(store) == ["c"]
    assert await store.ledgers.retention.blank(wanted) == ["c"]
    assert await replays.advance("R", 0, 2, 2)
    assert await ids(store) == ["a"]
    assert await store.ledgers.retention.blank(wanted) == ["a"]
    assert await replays.end("R", "completed", LATER)
    assert await store.ledgers.retention.blank(wanted) == ["b"]


async def test_blanking_leaves_the_envelope_and_takes_the_rows(store: Store, author: Author) -> None:
    await run(author, "a")
    await run(author, "b")
    await pass_by(store)
    retention = store.ledgers.retention
    before, kept = await retention.events("a"), await archived(store, "a")
    assert await retention.blank([kept]) == ["a"]
    after = await retention.events("a")
    assert [event._replace(data=b"") for event in before] == after
    assert [digest(event.data) for event in before] == [event.digest for event in after]
    assert await store.reads.get(ExecutionRow, "a") is None
    assert await store.reads.get(ExecutionRow, "b") is not None
    assert all(event.data for event in await retention.events("b"))
    assert await retention.get("a") == kept
    assert await retention.get("b") is None
    assert await ids(store) == ["b"]
    assert [event.data for event in await store.log.scan(0)][:2] == [b"", b""]


async def test_blanking_takes_the_deliveries_of_its_events_and_their_attempts(store: Store, author: Author) -> None:
    await run(author, "a")
    await run(author, "b")
    await author.write("note:n", "of the execution, and not its own", execution_id="a", workflow_id="w")
    await pass_by(store)
    deliveries, retention = store.ledgers.deliveries, store.ledgers.retention
    of = {id: await retention.events(id) for id in ("a", "b")}
    positions = [*(event.position for event in of["a"]), of["b"][0].position, store.log.head]
    events = {event.position: event for event in await store.log.scan(0)}
    added = [structs.replace(delivery(each, "succeeded"), event_id=events[each].id) for each in positions]
    await deliveries.add(added)
    await deliveries.settle([settled(each) for each in added])
    assert await retention.blank([await archived(store, "a")]) == ["a"]
    ids = [each.id for each in added]
    assert [await deliveries.get(id) is not None for id in ids] == [False, False, True, True]
    assert set(await deliveries.attempts(ids)) == set(ids[2:])


async def test_blanking_twice_and_nothing_does_nothing(store: Store, author: Author) -> None:
    await run(author, "a")
    await pass_by(store)
    kept = await archived(store, "a")
    assert await store.ledgers.retention.blank([kept]) == ["a"]
    assert await store.ledgers.retention.blank([structs.replace(kept, file="another")]) == []
    assert await store.ledgers.retention.get("a") == kept
    assert await store.ledgers.retention.blank([]) == []


async def test_what_changed_or_is_waited_for_again_is_left_as_it_is(store: Store, author: Author) -> None:
    for id in ("a", "b", "c", "d"):
        await run(author, id)
    await pass_by(store)
    wanted = [await archived(store, id) for id in ("a", "b", "c", "d")]
    await author.write("execution:a", RunChanged(row={"status": "completed"}), execution_id="a")
    await author.write("execution:b", RunChanged(row={"status": "running"}), execution_id="b")
    await store.ledgers.deliveries.add([delivery(wanted[2].last_position)])
    assert await store.ledgers.retention.blank(wanted) == ["d"]
    for id in ("a", "b", "c"):
        assert all(event.data for event in await store.ledgers.retention.events(id)), id
        assert await store.ledgers.retention.get(id) is None
        assert await store.reads.get(ExecutionRow, id) is not None


async def test_a_delivery_of_another_execution_between_the_positions_does_not_matter(
    store: Store, author: Author
) -> None:
    await author.write("execution:a", RunChanged(row={}), execution_id="a", workflow_id="w")
    await run(author, "b")
    ended = RunChanged(row={"status": "completed", "completed_at": ENDED})
    await author.write("execution:a", ended, execution_id="a", workflow_id="w")
    await pass_by(store)
    await store.ledgers.deliveries.add([delivery(2)])
    assert await store.ledgers.retention.blank([await archived(store, "a")]) == ["a"]


async def test_many_at_once_and_by_two_at_once(store: Store, author: Author) -> None:
    for number in range(300):
        await run(author, f"{number:03}")
    await pass_by(store)
    wanted = [await archived(store, id) for id in await ids(store, 1000)]
    done = await asyncio.gather(*(store.ledgers.retention.blank(wanted) for _ in range(2)))
    assert sorted(id for one in done for id in one) == [each.execution_id for each in wanted]
    assert len(wanted) == 300


async def test_stats_count_what_was_archived(store: Store, author: Author) -> None:
    await run(author, "a", workflow_id="A")
    last = author.clock.move(5)
    await run(author, "b", workflow_id="A", status="failed")
    await run(author, "c", workflow_id="B")
    await pass_by(store)
    before = await store.reads.execution_stats(["A", "B"])
    assert before["A"] == ExecutionStats(2, 2, 1, last)
    await store.ledgers.retention.blank([await archived(store, id) for id in ("a", "b", "c")])
    assert await store.reads.execution_stats(["A", "B"]) == before


async def test_what_is_lost_is_known_by_channel_and_position(store: Store, author: Author) -> None:
    await run(author, "a", workflow_id="A")
    await run(author, "b", workflow_id="B")
    await pass_by(store)
    retention = store.ledgers.retention
    await retention.blank([await archived(store, "a")])
    assert await retention.is_lost(ORG, 0)
    assert await retention.is_lost(ORG, 1)
    assert not await retention.is_lost(ORG, 2)
    assert not await retention.is_lost("another", 0)
    assert await retention.is_lost(ORG, 0, execution_id="a")
    assert not await retention.is_lost(ORG, 2, execution_id="a")
    assert not await retention.is_lost(ORG, 0, execution_id="b")
    assert not await retention.is_lost("another", 0, execution_id="a")
    assert await retention.is_lost(ORG, 0, workflow_id="A")
    assert not await retention.is_lost(ORG, 0, workflow_id="B")
    assert not await retention.is_lost("another", 0, workflow_id="A")


async def test_appending_goes_on_after_blanking(store: Store, author: Author) -> None:
    await run(author, "a")
    await pass_by(store)
    await store.ledgers.retention.blank([await archived(store, "a")])
    done = await author.write("b", "still here")
    assert done.recorded[0].position == store.log.head == 3


async def test_a_key_is_replaced_once(store: Store) -> None:
    organizations = store.ledgers.organizations
    for name in ("b", "a"):
        await organizations.add(Organization(id=f"O{name}", name=name, sealed_key=f"key {name}", created_at=START))
    assert [each.name for each in await organizations.all()] == ["a", "b"]
    assert not await organizations.replace_key("Oa", "another", "")
    assert await organizations.replace_key("Oa", "key a", "")
    assert not await organizations.replace_key("Oa", "key a", "new")
    assert [each.sealed_key for each in await organizations.all()] == ["", "key b"]
    assert await organizations.replace_key("Oa", "", "new")
    found = await organizations.get("Oa")
    assert found is not None
    assert found.sealed_key == "new"
