"""A hub that is killed, drained and started again under clients that follow it: nobody loses or repeats anything."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from random import random
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import pytest

from hub.client import ClientError, Message, Subscription, WorkflowClient
from hub.client.live import inbox
from hub.messages import Channel, message_types
from tests.integration.hubs import COMMAND, Client, Up, end, environment, until, up

LIVES = (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, None)
EVENTS_A_LIFE = 100
DEFINITION = {
    "components": [
        {"id": "start", "type": "start"},
        {"id": "say", "type": "log", "config": {"message": "${workflow.input.n}"}},
        {"id": "wait", "type": "wait", "config": {"seconds": 0.2}},
        {"id": "end", "type": "end"},
    ],
    "connections": [
        {"source": "start", "target": "say"},
        {"source": "say", "target": "wait"},
        {"source": "wait", "target": "end"},
    ],
}
Belongs = Callable[[dict[str, Any]], bool]


def hasty() -> float:
    """The chance of a jitter that does not wait for long."""
    return random() / 5


class Following:
    """What a subscriber has heard so far."""

    def __init__(self, subscription: Subscription, belongs: Belongs, pause: float = 0.0) -> None:
        self.heard: list[Message] = []
        self.belongs = belongs
        self._subscription, self._pause = subscription, pause

    async def run(self) -> None:
        async for message in self._subscription:
            self.heard.append(message)
            if self._pause:
                await asyncio.sleep(self._pause)

    @property
    def positions(self) -> list[int | None]:
        return [message.position for message in self.heard]


class Tail:
    """`runcast tail`, piped."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.positions: list[int] = []

    async def has_begun(self) -> bool:
        return bool(self.positions)

    async def run(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.positions.append(msgspec.json.decode(line)["position"])


async def tailing(hub: Up) -> Tail:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("tail", "events", "--since", "0", "--data-dir", str(hub.data_dir)),
        env=environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    return Tail(process)


def followings(one: WorkflowClient, other: WorkflowClient, workflow_id: str) -> list[Following]:
    on_execution, on_workflow = message_types(Channel.EXECUTION), message_types(Channel.WORKFLOW)
    assert on_execution is not None
    assert on_workflow is not None
    return [
        Following(one.subscribe("events", since=0), lambda event: True),
        Following(
            one.subscribe("execution", execution_id="*", since=0), lambda event: event["type"] in on_execution, 0.002
        ),
        Following(
            one.subscribe("workflow", workflow_id=workflow_id, since=0), lambda event: event["type"] in on_workflow
        ),
        Following(
            other.subscribe("events", since=0, types=["*.completed"]),
            lambda event: event["type"].endswith(".completed"),
            0.005,
        ),
    ]


class Runs:
    """Asked for and waited for, one after another, by several at once. One whose answer is lost may run all the same:
    the next one is asked for under a key of its own."""

    def __init__(self, asking: WorkflowClient, waiting: WorkflowClient, workflow_id: str) -> None:
        self._asking, self._waiting, self._workflow_id = asking, waiting, workflow_id
        self.ended: list[str] = []
        self.is_enough = False

    async def run(self) -> None:
        while not self.is_enough:
            try:
                started = await self._asking.workflows.execute(self._workflow_id, parameters={"n": len(self.ended)})
            except ClientError:
                await asyncio.sleep(0.05)
                continue
            result = await self._waiting.executions.wait_for_completion(started.id, timeout=60)
            assert result.status == "completed"
            self.ended.append(result.id)


async def lived(hub: Up, http: aiohttp.ClientSession, number: signal.Signals) -> None:
    """Until the hub has written enough, and was ended."""
    client = hub.client(http)

    async def head() -> int:
        return int((await client.get("/events", order="desc", limit=1)).data[0]["position"])

    begin = await head()

    async def has_come() -> bool:
        return await head() >= begin + EVENTS_A_LIFE

    await until(has_come, 60)
    await hub.stop(number)


async def everything(client: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while page := (await client.events(after=found[-1]["position"] if found else 0)):
        found += page
    return found


async def test_every_sequence_is_the_log_s_whatever_happens_to_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "MOST_MESSAGES", 32)
    data_dir, port, key = tmp_path / "data", "0", ""
    tasks: list[asyncio.Task[None]] = []
    async with aiohttp.ClientSession() as http, asyncio.timeout(150):
        async with up(data_dir) as hub:
            port, key = str(urlsplit(hub.url).port), hub.key
            one, other = (WorkflowClient(hub.url, key, retries=30, chance=hasty) for _ in range(2))
            workflow = await one.workflows.create({"name": "followed", "definition": DEFINITION})
            asking = WorkflowClient(hub.url, key, retries=0)
            followed, runs = followings(one, other, workflow.id), Runs(asking, other, workflow.id)
            tail = await tailing(hub)
            following = [asyncio.create_task(each.run()) for each in (*followed, tail)]
            running = [asyncio.create_task(runs.run()) for _ in range(8)]
            tasks = [*following, *running]
            assert LIVES[0] is not None
            await until(tail.has_begun)
            await lived(hub, http, LIVES[0])
        try:
            for number in LIVES[1:]:
                async with up(data_dir, "--port", port) as hub:
                    if number is not None:
                        await lived(hub, http, number)
                        continue
                    runs.is_enough = True
                    await asyncio.gather(*running)
                    await all_is_heard(hub.client(http), followed, tail)
                    tail.process.send_signal(signal.SIGINT)
                    assert await tail.process.wait() == 0
                    assert await hub.stop() == 0
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(one.aclose(), other.aclose(), asking.aclose(), end(tail.process))
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "runcast socket"]


async def all_is_heard(client: Client, followed: list[Following], tail: Tail) -> None:
    log = await everything(client)
    for each in followed:
        expected = [event["position"] for event in log if each.belongs(event)]

        async def has_come(each: Following = each, count: int = len(expected)) -> bool:
            return len(each.heard) >= count

        await until(has_come, 60)
        assert each.positions[: len(expected)] == expected
    positions = [event["position"] for event in log]

    async def was_printed() -> bool:
        return len(tail.positions) >= len(positions)

    await until(was_printed, 60)
    assert tail.positions[: len(positions)] == positions
