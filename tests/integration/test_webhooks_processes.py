"""Several processes deliver from one store: here several assemblies that share nothing else, some of which die."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web

from executor.domain.errors import Unavailable
from executor.ports import Store
from hub.replays import Recover, ReplayCommands, ReplayTarget, StartReplay
from tests.integration.forgetting import FORGETFUL
from tests.integration.receiving import Arrived, Receiver, World, receiving, until, world
from webhooks.assembly import Webhooks

pytestmark = FORGETFUL


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.fixture
async def brief(tmp_path: Path) -> AsyncIterator[World]:
    """Where leases are so short that one who does not prolong them in time loses them."""
    async with world(tmp_path, lease_seconds=0.6) as made:
        yield made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@asynccontextmanager
async def running(*processes: Webhooks) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.create_task(each.run(is_alone=False)) for each in processes]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


class Mortal:
    """The ledgers as one process sees them. `goes_on` cleared pauses it: it hears no answer until it is set; a dead
    process writes nothing any more."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.is_dead = inner, False
        self.goes_on, self.waiting = asyncio.Event(), asyncio.Event()
        self.goes_on.set()

    def store(self, store: Store) -> Store:
        ledgers = SimpleNamespace(
            deliveries=_Through(self, store.ledgers.deliveries),
            leases=_Through(self, store.ledgers.leases),
            redelivery=_Through(self, store.ledgers.redelivery),
            replays=_Through(self, store.ledgers.replays),
        )
        parts = {"log": store.log, "reads": store.reads, "ledgers": ledgers, "is_shared": store.is_shared}
        return cast("Store", SimpleNamespace(**parts))

    async def pass_(self) -> None:
        if not self.goes_on.is_set():
            self.waiting.set()
        await self.goes_on.wait()
        if self.is_dead:
            raise Unavailable("this process is dead")


class _Through:
    def __init__(self, life: Mortal, inner: Any) -> None:
        self._life, self._inner = life, inner

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any, **named: Any) -> Any:
            await self._life.pass_()
            return await getattr(self._inner, name)(*arguments, **named)

        return call


def mortal(hub: World) -> tuple[Webhooks, Mortal]:
    life = Mortal(hub.store)
    made = hub.fresh(life.store(hub.store))
    made.worker._grace = 0
    return made, life


async def killed(life: Mortal, tasks: list[asyncio.Task[None]]) -> None:
    """It goes, and writes nothing on its way."""
    life.is_dead = True
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def all_arrive(receiver: Receiver, count: int) -> None:
    await until(lambda: len({each.id for each in receiver.arrived}) >= count)


async def test_one_fans_out_at_a_time_and_the_other_takes_over_when_it_leaves(hub: World, receiver: Receiver) -> None:
    acme = await hub.organization("acme")
    await hub.register(acme, receiver.url, "workflow.created")
    one, two = hub.fresh(), hub.fresh()
    async with running(one):
        await hub.workflow(acme, "a")
        await all_arrive(receiver, 1)
        async with running(two):
            await hub.workflow(acme, "b")
            await all_arrive(receiver, 2)
            assert two.fanout.position == 0, "it stands by, and reads nothing"
            await until(lambda: one.fanout.position == hub.store.log.head)
        hub.webhooks = one
        await hub.quiet()
    async with running(two):
        await hub.workflow(acme, "c")
        await all_arrive(receiver, 3)
    assert two.fanout.position > 0
    assert max(Counter(each.id for each in receiver.arrived).values()) == 1


async def test_another_fans_out_soon_after_one_was_killed(brief: World, receiver: Receiver) -> None:
    acme = await brief.organization("acme")
    await brief.register(acme, receiver.url, "workflow.created")
    one, life = mortal(brief)
    async with running(one) as first:
        await brief.workflow(acme, "a")
        await all_arrive(receiver, 1)
        async with running(brief.fresh()):
            await killed(life, first)
            await brief.workflow(acme, "b")
            await all_arrive(receiver, 2)


async def test_a_fan_out_that_was_paused_writes_nothing_twice_and_begins_again(
    brief: World, receiver: Receiver
) -> None:
    acme = await brief.organization("acme")
    created = await brief.register(acme, receiver.url, "workflow.created")
    one, life = mortal(brief)
    async with running(one):
        await brief.workflow(acme, "a")
        await all_arrive(receiver, 1)

        async def is_settled() -> bool:
            return await brief.statuses(acme) == ["succeeded"]

        await until(is_settled)
        life.goes_on.clear()
        await brief.workflow(acme, "b")
        await life.waiting.wait()
        other = brief.fresh()
        async with running(other):
            await brief.workflow(acme, "c")
            await all_arrive(receiver, 3)
            life.goes_on.set()
            await brief.workflow(acme, "d")
            await all_arrive(receiver, 4)
        await brief.workflow(acme, "e")
        await all_arrive(receiver, 5)
        await until(lambda: one.fanout.position == brief.store.log.head)
    names = [each.json["data"]["workflow"]["name"] for each in receiver.arrived]
    assert sorted(names) == ["a", "b", "c", "d", "e"]
    assert len(await brief.deliveries(acme, created.state.id)) == 5


async def test_what_a_killed_worker_was_sending_another_sends_long_before_the_endpoint_would_be_late(
    brief: World, receiver: Receiver
) -> None:
    async def hang(arrived: Arrived) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    receiver.replies = [hang]
    acme = await brief.organization("acme")
    await brief.register(acme, receiver.url, "workflow.created", timeout_seconds=30)
    one, life = mortal(brief)
    async with running(one) as first:
        await brief.workflow(acme, "a")
        await until(lambda: len(receiver.arrived) == 1)
        async with running(brief.fresh()):
            await killed(life, first)
            await until(lambda: len(receiver.arrived) == 2, seconds=8)
    sent, again = receiver.arrived
    assert (sent.id, sent.body) == (again.id, again.body)
    assert again.headers["X-Webhook-Attempt"] == "2"


async def test_while_its_worker_lives_a_long_exchange_is_nobody_elses(brief: World, receiver: Receiver) -> None:
    ended = asyncio.Event()

    async def late(arrived: Arrived) -> web.StreamResponse:
        await ended.wait()
        return web.Response()

    receiver.replies = [late]
    acme = await brief.organization("acme")
    await brief.register(acme, receiver.url, "workflow.created", timeout_seconds=30)
    async with running(brief.fresh(), brief.fresh()):
        await brief.workflow(acme, "a")
        await until(lambda: len(receiver.arrived) == 1)
        leases: set[str | None] = set()

        async def are_prolonged() -> bool:
            (sent,) = await brief.deliveries(acme)
            leases.add(sent.lease_until)
            return len(leases) > 5

        await until(are_prolonged)
        ended.set()

        async def has_succeeded() -> bool:
            return await brief.statuses(acme) == ["succeeded"]

        await until(has_succeeded)
    assert len(receiver.arrived) == 1
    (sent,) = await brief.deliveries(acme)
    assert sent.attempt_count == 1


async def test_two_processes_keep_the_order_of_an_ordered_endpoint(hub: World, receiver: Receiver) -> None:
    under_way = most = 0

    async def answer(arrived: Arrived) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.005)
        under_way -= 1
        return web.Response(status=500 if arrived.headers["X-Webhook-Attempt"] == "1" else 200)

    receiver.replies = [answer] * 100
    acme = await hub.organization("acme")
    await hub.register(acme, receiver.url, "workflow.created", ordered=True)
    async with running(hub.fresh(), hub.fresh()):
        events = [await hub.workflow(acme, f"w{number}") for number in range(12)]
        await until(lambda: len(receiver.arrived) == 24, seconds=40)
    assert [each.id for each in receiver.arrived] == [id for id in events for _ in range(2)]
    assert most == 1


async def test_two_processes_keep_the_limit_of_an_endpoint_together(hub: World, receiver: Receiver) -> None:
    under_way = most = 0

    async def answer(arrived: Arrived) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.02)
        under_way -= 1
        return web.Response()

    receiver.replies = [answer] * 100
    acme = await hub.organization("acme")
    await hub.register(acme, receiver.url, "workflow.created", max_in_flight=3)
    async with running(hub.fresh(), hub.fresh()):
        for number in range(40):
            await hub.workflow(acme, f"w{number}")
        await all_arrive(receiver, 40)
    assert most == 3
    assert len(receiver.arrived) == 40


@pytest.mark.parametrize("is_restart", [True, False])
async def test_a_replay_goes_on_where_it_was_after_a_restart_and_in_another_process(
    brief: World, receiver: Receiver, is_restart: bool
) -> None:
    acme = await brief.organization("acme")
    names = [f"w{number}" for number in range(6)]
    for name in names:
        await brief.workflow(acme, name)
    created = await brief.register(acme, receiver.url, "workflow.*")
    one, life = mortal(brief)
    two, replays = brief.fresh(), brief.store.ledgers.replays
    one.replayer.most_waiting = two.replayer.most_waiting = 1

    async def hang(arrived: Arrived) -> web.StreamResponse:
        if len(receiver.arrived) == 3:
            await asyncio.sleep(60)
        return web.Response()

    receiver.replies = [hang] * 3
    wish = StartReplay(target=ReplayTarget(webhook_id=created.state.id))
    job = await ReplayCommands(brief.store).start(acme, wish, brief.clock.new_id(), brief.clock.now())
    first = [asyncio.create_task(one.run(is_alone=is_restart))]
    await until(lambda: len(receiver.arrived) == 3)
    await killed(life, first)
    left = await replays.get(job.id)
    assert left is not None
    assert (left.status, left.processed) == ("running", 3)
    second = [asyncio.create_task(two.run(is_alone=is_restart))]
    try:

        async def is_completed() -> bool:
            found = await replays.get(job.id)
            return found is not None and found.status == "completed" and found.processed == 6

        await until(is_completed)
    finally:
        for task in second:
            task.cancel()
        await asyncio.wait(second)
    arrived = [each.json["data"]["workflow"]["name"] for each in receiver.arrived]
    assert arrived == [*names[:3], *names[2:]], "what was being sent is sent again, and nothing else"
    assert receiver.arrived[2].id == receiver.arrived[3].id


class _Dying:
    """The ledger of jobs of a process that dies with the second step that found something: it is written, and nobody
    hears of it."""

    def __init__(self, inner: Any, life: Mortal) -> None:
        self._inner, self._life = inner, life
        self.steps, self.died = 0, asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def recover(self, *arguments: Any) -> Any:
        recovered = await self._inner.recover(*arguments)
        self.steps += bool(recovered)
        if self.steps == 2:
            self._life.is_dead = True
            self.died.set()
        return recovered


async def test_a_recovery_goes_on_where_it_was_and_sends_nothing_that_had_arrived(
    brief: World, receiver: Receiver
) -> None:
    acme = await brief.organization("acme")
    once = {"max_attempts": 1}
    created = await brief.register(acme, receiver.url, "workflow.created", retry_policy=once)
    id, replays = created.state.id, brief.store.ledgers.replays
    one, life = mortal(brief)
    two = brief.fresh()
    one.recoverer.most_waiting = two.recoverer.most_waiting = 1
    first = [asyncio.create_task(one.run(is_alone=True))]
    receiver.replies = [200, 500, 500, 500]
    for name in ("arrived", "a", "b", "c"):
        await brief.workflow(acme, name)

    async def have_failed() -> bool:
        return sorted(await brief.statuses(acme, id)) == ["exhausted"] * 3 + ["succeeded"]

    await until(have_failed)
    await one.commands.disable(acme, id)
    for name in ("d", "e", "f"):
        await brief.workflow(acme, name)
    await one.commands.enable(acme, id)
    dying = _Dying(one.recoverer._replays, life)
    one.recoverer._replays = cast("Any", dying)
    commands, clock = ReplayCommands(brief.store), brief.clock
    job = await commands.recover(acme, id, Recover(since=0, what="undelivered"), clock.new_id(), clock.now())
    await asyncio.wait_for(dying.died.wait(), 30)
    await killed(life, first)
    left = await replays.get(job.id)
    assert left is not None
    assert (left.status, left.processed) == ("running", 2)
    second = [asyncio.create_task(two.run(is_alone=True))]
    try:

        async def is_completed() -> bool:
            found = await replays.get(job.id)
            return found is not None and found.status == "completed" and found.processed == 6

        await until(is_completed)

        async def have_arrived() -> bool:
            return await brief.statuses(acme, id) == ["succeeded"] * 7

        await until(have_arrived)
    finally:
        for task in second:
            task.cancel()
        await asyncio.wait(second)
    names = [each.json["data"]["workflow"]["name"] for each in receiver.arrived]
    assert names.count("arrived") == 1
    assert set(names) == {"arrived", *"abcdef"}
