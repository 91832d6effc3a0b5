"""Those outside whom runs wait for: they work, decide, signal, cancel, pause, resume and retry, and go on in each
life of the hub where they were cut off in the last."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp

from tests.integration.hubs import Answer, Client

_PAUSE_SECONDS = 0.1


class Hands:
    """Whatever was not acknowledged is said again."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.signalled: set[str] = set()
        self.paused: set[str] = set()
        self.lost = 0

    @contextlib.asynccontextmanager
    async def busy(self, client: Client) -> AsyncIterator[None]:
        """All at once, until nobody needs them any more."""
        tasks = [asyncio.create_task(self._again(act, client)) for act in (self.work, self.decide, self.tend)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for done in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(done, asyncio.CancelledError), done

    async def _again(self, act: Callable[[Client], Awaitable[None]], client: Client) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                await act(client)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def work(self, client: Client) -> None:
        """A worker that is sometimes not heard of again, at first for sure, and sometimes fails."""
        by = {"worker_id": f"worker-{self.chance.random()}"}
        wish = {"types": ["work"], "max": 10, "wait_seconds": 1} | self.chance.choice(({}, {"lease_seconds": 1}))
        claimed = await client.post("/tasks/claim", by | wish)
        for task in claimed.data:
            path = f"/tasks/{task['id']}"
            chosen = self.chance.choice(("done", "done", "done", "done", "fails", "lost")) if self.lost else "lost"
            match chosen:
                case "done":
                    self._may_be_late(await client.post(f"{path}/complete", by | {"output": task["input"]}))
                case "fails":
                    failed = by | {"error": "not today", "retryable": True}
                    self._may_be_late(await client.post(f"{path}/fail", failed))
                case "lost":
                    self.lost += 1

    async def decide(self, client: Client) -> None:
        for task in (await client.get("/tasks", kind="human", status="pending", limit=100)).data:
            self._may_be_late(await client.post(f"/tasks/{task['id']}/complete", {"output": task["data"]}))

    async def tend(self, client: Client) -> None:
        """What runs wait for that is no task. Only those are cancelled whose child has come to where it waits for
        ever."""
        for status in ("queued", "running", "paused", "failed"):
            for run in (await client.get("/executions", status=status, limit=500)).data:
                match run["workflow_name"], status:
                    case "signal", _:
                        await self._once(
                            self.signalled, client, run["id"], "signal", key="go", data=run["parameters"]
                        )
                    case "to be paused", "queued" | "running":
                        await self._once(self.paused, client, run["id"], "pause")
                    case "to be paused", "paused":
                        self._may_be_late(await client.post(f"/executions/{run['id']}/resume"))
                    case "to be retried", "failed":
                        again = {"parameters": {"door": "effect"}}
                        self._may_be_late(await client.post(f"/executions/{run['id']}/retry", again))
                    case "endless child", "running" if run["progress"]["current_component"] == "wait":
                        path = f"/executions/{run['parent_execution_id']}/cancel"
                        self._may_be_late(await client.post(path, {"reason": "enough"}))

    async def _once(self, done: set[str], client: Client, id: str, act: str, **body: Any) -> None:
        if id not in done:
            self._may_be_late(await client.post(f"/executions/{id}/{act}", body))
            done.add(id)

    def _may_be_late(self, answer: Answer) -> None:
        assert answer.status in (200, 202, 409), answer.body
