from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from redis.asyncio import Redis

from executor.domain.values import Instant, derived_id, plus
from executor.ports import NEW, Delivery, EndpointLimits, NewEvent, StreamAppend
from executor.sealing import Sealer, SecretKey
from tests.integration.forgetting import FORGETFUL
from tests.integration.receiving import QUICK, Arrived, Receiver, World, receiving, until, world
from webhooks import delivery
from webhooks.delivery import given_up
from webhooks.endpoint import State

_WORKER = """
import asyncio, sys
from pathlib import Path
from tests.integration.receiving import until, world

async def main():
    async with world(Path(sys.argv[1])) as hub:
        acme = await hub.organization("acme")
        await hub.start()
        await hub.register(acme, sys.argv[2], "workflow.created")
        await hub.workflow(acme, "a")
        print(acme.organization_id, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


pytestmark = FORGETFUL


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, lease_seconds=1.0) as made:
        yield made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


async def taken(hub: World, webhook: State, lease_until: Instant) -> Delivery:
    """The one delivery that is due, claimed by a process that dies then."""
    limits = EndpointLimits(webhook.id, 10, False)
    claimed = await hub.store.ledgers.deliveries.claim(
        webhook.shard, {webhook.id: limits}.get, hub.clock.now(), lease_until, 10, through=hub.store.log.head
    )
    (one,) = claimed.deliveries
    return one


async def names(receiver: Receiver, count: int) -> list[str]:
    await until(lambda: len({each.id for each in receiver.arrived}) >= count)
    return sorted({each.json["data"]["workflow"]["name"] for each in receiver.arrived})


async def test_flushing_valkey_in_the_middle_loses_nothing(hub: World, receiver: Receiver) -> None:
    acme = await hub.organization("acme")
    await hub.register(acme, receiver.url, "workflow.created")
    await hub.start()
    client: Redis[bytes] = Redis.from_url(hub.valkey.url)
    for number in range(20):
        await hub.workflow(acme, f"w{number:02}")
        await client.flushall()
    await client.aclose()
    assert await names(receiver, 20) == [f"w{number:02}" for number in range(20)]


async def test_killing_valkey_loses_nothing(hub: World, receiver: Receiver) -> None:
    acme = await hub.organization("acme")
    await hub.register(acme, receiver.url, "workflow.created")
    await hub.start()
    for number in range(3):
        await hub.workflow(acme, f"w{number}")
        await names(receiver, number + 1)
        killed = hub.valkey.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await until(lambda killed=killed: hub.valkey.pid not in (None, killed))  # type: ignore[misc]
    await hub.workflow(acme, "w3")
    assert await names(receiver, 4) == ["w0", "w1", "w2", "w3"]


async def test_a_valkey_that_hangs_holds_up_no_end(hub: World, receiver: Receiver) -> None:
    acme = await hub.organization("acme")
    await hub.register(acme, receiver.url, "workflow.created")
    await hub.start()
    await hub.workflow(acme, "a")
    await names(receiver, 1)
    frozen = hub.valkey.pid
    assert frozen is not None
    os.kill(frozen, signal.SIGSTOP)
    try:
        async with asyncio.timeout(20):
            await hub.stop()
    finally:
        os.kill(frozen, signal.SIGCONT)
    await hub.start()
    await hub.workflow(acme, "b")
    assert await names(receiver, 2) == ["a", "b"]


async def test_what_happens_while_nobody_delivers_is_delivered_later(hub: World, receiver: Receiver) -> None:
    acme = await hub.organization("acme")
    await hub.register(acme, receiver.url, "workflow.created")
    await hub.start()
    await hub.workflow(acme, "first")
    await names(receiver, 1)
    await hub.stop()
    await hub.workflow(acme, "second")
    await hub.valkey.stop()
    hub.webhooks = hub.fresh()
    await hub.start()
    await hub.workflow(acme, "third")
    await hub.quiet()
    await hub.valkey.start()
    assert await names(receiver, 3) == ["first", "second", "third"]


async def test_what_a_dead_worker_claimed_is_sent_again_when_its_lease_runs_out(
    hub: World, receiver: Receiver
) -> None:
    acme = await hub.organization("acme")
    created = await hub.register(acme, receiver.url, "workflow.created")
    fanning = asyncio.create_task(hub.webhooks.fanout.run())
    event_id = await hub.workflow(acme, "a")
    await hub.quiet()
    fanning.cancel()
    now = hub.clock.now()
    claimed = await taken(hub, created.state, plus(now, 0.5))
    hub.webhooks = hub.fresh()
    await hub.start(is_alone=False)
    await until(lambda: len(receiver.arrived) == 1)
    assert hub.clock.now() >= plus(now, 0.5)
    (arrived,) = receiver.arrived
    assert (arrived.id, arrived.headers["X-Webhook-Delivery"]) == (event_id, claimed.id)
    assert arrived.headers["X-Webhook-Attempt"] == "2"


async def test_killing_the_process_in_the_middle_of_a_request_sends_it_again_at_the_next_start(
    tmp_path: Path, receiver: Receiver
) -> None:
    async def hang(arrived: Arrived) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    receiver.replies = [hang]
    arguments = [sys.executable, "-c", _WORKER, str(tmp_path), receiver.url]
    process = await asyncio.create_subprocess_exec(*arguments, stdout=subprocess.PIPE)
    assert process.stdout is not None
    while not (line := (await process.stdout.readline()).decode().strip()).startswith("01"):
        assert line
    await until(lambda: len(receiver.arrived) == 1)
    process.kill()
    await process.wait()
    async with world(tmp_path) as hub:
        await hub.start(is_alone=True)
        await until(lambda: len(receiver.arrived) == 2, seconds=8)
    first, second = receiver.arrived
    assert (first.id, first.body) == (second.id, second.body)
    assert second.headers["X-Webhook-Attempt"] == "2"


async def test_stopping_lets_what_flies_land_and_says_what_it_cuts_off(hub: World, receiver: Receiver) -> None:
    landing = asyncio.Event()

    async def late(arrived: Arrived) -> web.StreamResponse:
        await landing.wait()
        return web.Response()

    async def never(arrived: Arrived) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    acme = await hub.organization("acme")
    receiver.replies = [late, never]
    hub.webhooks.worker._grace = 0.5
    policy = QUICK | {"max_attempts": 1}
    created = await hub.register(acme, receiver.url, "workflow.created", retry_policy=policy)
    await hub.start()
    await hub.workflow(acme, "a")
    await until(lambda: len(receiver.arrived) == 1)
    await hub.workflow(acme, "b")
    await until(lambda: len(receiver.arrived) == 2)
    stopping = asyncio.create_task(hub.stop())
    landing.set()
    await stopping
    landed, cut_off = await hub.deliveries(acme)
    assert (landed.status, landed.attempt_count) == ("succeeded", 1)
    assert (cut_off.status, cut_off.attempt_count) == ("retrying", 1), "though its policy has no second attempt"
    assert cut_off.next_attempt_at is not None
    assert cut_off.next_attempt_at <= hub.clock.now()
    (attempt,) = (await hub.store.ledgers.deliveries.attempts([cut_off.id]))[cut_off.id]
    assert (attempt.error, attempt.error_class) == ("cut off: this process was told to end", "cut_off")
    state = await hub.store.ledgers.deliveries.state(created.state.id)
    assert state is not None
    assert (state.last_failure_at, state.failing_since) == (None, None), "the receiver is not to blame"


async def limit_pages(hub: World, more: int) -> None:
    """Lets the database grow by so many pages and no further, as a full disk would."""

    def limit(database: sqlite3.Connection) -> None:
        (count,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {count + more}")

    await hub.store.log.writer.run(limit)


async def test_a_full_disk_delays_what_was_answered_and_sends_nothing_twice(
    hub: World, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    answers = asyncio.Event()

    async def at_length(arrived: Arrived) -> web.StreamResponse:
        await answers.wait()
        return web.Response(text="x" * 16_000)

    acme = await hub.organization("acme")
    receiver.replies = [at_length] * 50
    created = await hub.register(acme, receiver.url, "workflow.created", max_in_flight=50)
    await hub.start()
    events = [await hub.workflow(acme, f"w{number}") for number in range(50)]
    await until(lambda: len(receiver.arrived) == 50)
    await limit_pages(hub, 2)
    answers.set()
    await until(lambda: "attempts wait for the store: the disk is full" in caplog.text)
    assert await hub.statuses(acme) == ["in_flight"] * 50
    await limit_pages(hub, 10_000)

    async def have_ended() -> bool:
        return await hub.statuses(acme) == ["succeeded"] * 50

    await until(have_ended)
    assert sorted(each.id for each in receiver.arrived) == sorted(events)
    assert {each.attempt_count for each in await hub.deliveries(acme)} == {1}
    since = hub.clock.now()[: len("2026-01-31")]
    counts = await hub.store.ledgers.redelivery.counts(created.state.id, since)
    assert sum(count.attempts for count in counts) == 50


async def test_dying_between_the_fact_and_its_settling_says_the_fact_once(hub: World, receiver: Receiver) -> None:
    acme = await hub.organization("acme")
    receiver.always = 500
    policy = QUICK | {"max_attempts": 1}
    created = await hub.register(acme, receiver.url, "workflow.created", retry_policy=policy, timeout_seconds=1)
    fanning = asyncio.create_task(hub.webhooks.fanout.run())
    await hub.workflow(acme, "a")
    await hub.quiet()
    fanning.cancel()
    claimed = await taken(hub, created.state, plus(hub.clock.now(), 0.1))
    told = StreamAppend(
        stream=delivery.stream(claimed.id),
        expected=NEW,
        state=delivery.Spent(),
        events=(NewEvent(derived_id(claimed.id, "exhausted"), given_up(claimed, "the receiver answered 500")),),
        organization_id=acme.organization_id,
    )
    await hub.store.log.append((told,))
    hub.webhooks = hub.fresh()
    await hub.start(is_alone=False)

    async def is_exhausted() -> bool:
        return await hub.statuses(acme, created.state.id) == ["exhausted"]

    await until(is_exhausted)
    assert len(await hub.store.log.stream(delivery.stream(claimed.id))) == 1


async def test_secrets_of_another_key_are_an_error_of_the_attempt_and_not_of_the_worker(
    hub: World, receiver: Receiver
) -> None:
    acme = await hub.organization("acme")
    created = await hub.register(acme, receiver.url, "workflow.created", retry_policy=QUICK | {"max_attempts": 1})
    state = await hub.webhooks.commands.get(acme, created.state.id)
    assert state.endpoint is not None
    hub.sealer = Sealer(SecretKey.from_text("another"), hub.store.ledgers.organizations)
    hub.webhooks = hub.fresh()
    await hub.start()
    await hub.workflow(acme, "a")

    async def is_exhausted() -> bool:
        return await hub.statuses(acme) == ["exhausted"]

    await until(is_exhausted)
    (sent,) = await hub.deliveries(acme)
    (attempt,) = await hub.attempts(sent.id)
    assert "SECRET_KEY" in (attempt.error or "")
    assert receiver.arrived == []


async def test_pumps_are_succeeded_before_their_time_is_over(
    hub: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webhooks.worker._RENEWED_AFTER_SECONDS", 0.2)
    monkeypatch.setattr("webhooks.worker._OVER_AFTER_SECONDS", 2.0)
    acme = await hub.organization("acme")
    await hub.register(acme, receiver.url, "workflow.created")
    await hub.start()
    terms = hub.webhooks.worker._terms
    await until(lambda: len(terms) == 8)
    first = dict(terms)
    await until(lambda: all(shard in terms and terms[shard] is not first[shard] for shard in first))
    assert all(term.is_succeeded for term in first.values())
    await hub.workflow(acme, "a")
    assert await names(receiver, 1) == ["a"]
