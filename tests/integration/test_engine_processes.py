"""Executors as processes of their own on one PostgreSQL: stopped, paused and killed, with requests on their way."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from tests.integration.engines import PATIENCE, Stage, link, staged_on, step, workflow
from tests.integration.hubs import ROOT, end, environment
from tests.integration.receiving import Arrived, Receiver, receiving, until

TTL = 1.5
"""Seconds; long enough for a busy machine, short enough to wait for."""


@pytest.fixture
async def stage(postgres_url: str) -> AsyncIterator[Stage]:
    async with staged_on(postgres_url) as stage:
        yield stage


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


class Executor:
    """A process that runs an engine."""

    def __init__(self, id: str, process: asyncio.subprocess.Process) -> None:
        self.id, self.process = id, process

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def stopped(self) -> int:
        self.tell(signal.SIGTERM)
        async with asyncio.timeout(20):
            return await self.process.wait()


@asynccontextmanager
async def executing(url: str, *ids: str, ttl: float = TTL) -> AsyncIterator[list[Executor]]:
    executors: list[Executor] = []
    try:
        for id in ids:
            child = str(ROOT / "tests" / "integration" / "engine_child.py")
            process = await asyncio.create_subprocess_exec(
                sys.executable, child, url, id, str(ttl), env=environment(), stdout=asyncio.subprocess.PIPE
            )
            executors.append(Executor(id, process))
            await started(process)
        yield executors
    finally:
        for each in executors:
            await end(each.process)


async def started(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while (line := await process.stdout.readline()) != b"runs\n":
            assert line, "it ended"


def two_requests(receiver: Receiver) -> dict[str, Any]:
    steps = [step(id, "http_request", config={"url": f"{receiver.url}/{id}", "method": "POST"}) for id in ("a", "b")]
    return workflow(*steps, links=[link("a", "b")])


def keys(receiver: Receiver) -> list[tuple[str, str]]:
    return [(each.headers["Idempotency-Key"], each.headers["X-Runcast-Attempt"]) for each in receiver.arrived]


async def test_an_executor_that_was_paused_for_longer_than_it_lives_does_no_harm(
    stage: Stage, postgres_url: str, receiver: Receiver
) -> None:
    answers = asyncio.Event()

    async def late(arrived: Arrived) -> web.StreamResponse:
        await answers.wait()
        return web.Response(text="the first")

    receiver.replies = [late]
    async with executing(postgres_url, "paused") as (paused,):
        id = await stage.create(two_requests(receiver))
        await until(lambda: len(receiver.arrived) == 1, PATIENCE)
        async with executing(postgres_url, "other") as (other,):
            paused.tell(signal.SIGSTOP)
            await stage.end(id)
            before = await stage.recorded(id)
            paused.tell(signal.SIGCONT)
            answers.set()
            assert await other.stopped() == 0
        following = await stage.create(two_requests(receiver))
        await stage.end(following)
        assert await paused.stopped() == 0
    assert await stage.recorded(id) == before, "nothing that it says is heard"
    assert (await stage.view(id)).status == "completed"
    assert (await stage.components(id))["a"].attempt == 2
    assert keys(receiver)[:3] == [(f"{id}/a/-/0", "1"), (f"{id}/a/-/0", "2"), (f"{id}/b/-/0", "1")]
    assert len(receiver.arrived) == 5
    assert [event.engine for event in await stage.events(id, "execution.reclaimed")] == ["other"]
    assert [event.engine for event in await stage.events(following, "execution.started")] == ["paused"]
    assert "execution.reclaimed" not in await stage.types(following)


async def test_a_rolling_restart_of_executors_runs_nothing_twice(
    stage: Stage, postgres_url: str, receiver: Receiver
) -> None:
    async def soon(arrived: Arrived) -> web.StreamResponse:
        await asyncio.sleep(0.05)
        return web.Response()

    receiver.replies = [soon] * 1000
    ids: list[str] = []
    async with executing(postgres_url, "old-1", "old-2", ttl=20) as old:
        for number, each in enumerate(old):
            ids += [await stage.create(two_requests(receiver)) for _ in range(15)]
            await until(lambda count=number * 20: len(receiver.arrived) > count, PATIENCE)  # type: ignore[misc]
            if number == 0:
                assert await each.stopped() == 0
        async with executing(postgres_url, "new", ttl=20):
            assert await old[1].stopped() == 0
            await stage.end(*ids)
    assert Counter(Counter(keys(receiver)).values()) == {1: 60}
    assert {attempt for _, attempt in keys(receiver)} == {"1"}
    assert {(await stage.view(id)).status for id in ids} == {"completed"}


async def test_executors_that_are_paused_in_turn_bring_every_run_to_its_end(
    stage: Stage, postgres_url: str, receiver: Receiver
) -> None:
    async def soon(arrived: Arrived) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        return web.Response()

    receiver.replies = [soon] * 10_000
    async with executing(postgres_url, "one", "two") as both:
        ids: list[str] = []
        for executor in (*both, both[0]):
            ids += [await stage.create(two_requests(receiver)) for _ in range(20)]
            await until(lambda: bool(receiver.arrived), PATIENCE)
            executor.tell(signal.SIGSTOP)
            await stage.end(*ids)
            executor.tell(signal.SIGCONT)
        assert [await each.stopped() for each in both] == [0, 0]
    for id in ids:
        types = Counter(await stage.types(id))
        assert types["component.completed"] == 3
        assert (await stage.types(id))[-1] == "execution.completed"
        epochs = [event.epoch for event in await stage.events(id) if hasattr(event, "epoch")]
        assert epochs == list(range(1, len(epochs) + 1))
    assert max(Counter(keys(receiver)).values()) == 1, "each attempt is made once"


async def test_what_a_killed_executor_was_at_is_anothers_when_its_time_to_live_is_over(
    stage: Stage, postgres_url: str, receiver: Receiver
) -> None:
    async def never(arrived: Arrived) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    receiver.replies = [never]
    async with executing(postgres_url, "killed", "other") as executors:
        id = await stage.create(two_requests(receiver))
        await until(lambda: len(receiver.arrived) == 1, PATIENCE)
        (first,) = await stage.events(id, "execution.started")
        (victim,) = [each for each in executors if each.id == first.engine]
        victim.tell(signal.SIGKILL)
        async with asyncio.timeout(TTL + 10):
            await stage.end(id)
    assert (await stage.view(id)).status == "completed"
    assert keys(receiver) == [(f"{id}/a/-/0", "1"), (f"{id}/a/-/0", "2"), (f"{id}/b/-/0", "1")]
