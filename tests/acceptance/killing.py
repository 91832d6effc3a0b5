"""A hub that is killed again and again, and the runs that it is asked for in all its lives."""

from __future__ import annotations

import random
from pathlib import Path

import aiohttp

from tests.integration.hubs import Client, Up, until


class Killed:
    """The hub, as it is now, and what it acknowledged in all its lives."""

    def __init__(self, data_dir: Path, todo: list[int]) -> None:
        self.data_dir, self.todo = data_dir, todo
        self.acknowledged: dict[str, int] = {}

    async def start_runs(self, client: Client, workflows: list[str], chance: random.Random) -> None:
        """Until all are acknowledged, or the hub is gone. One that was not acknowledged is asked for again."""
        while self.todo:
            n = self.todo.pop()
            parameters = {"n": n, "seconds": round(chance.uniform(0.2, 2), 1)}
            try:
                id = await client.execution(workflows[n % len(workflows)], parameters=parameters)
            except (aiohttp.ClientError, OSError):
                self.todo.append(n)
                return
            self.acknowledged[id] = n

    async def head(self, client: Client) -> int:
        return int((await client.get("/events", order="desc", limit=1)).data[0]["position"])


async def killed_after(hub: Up, client: Client, killed: Killed, events: int) -> None:
    """Ends the hub as a power cut would, once it has that many more events than now."""
    begin = await killed.head(client)

    async def has_come() -> bool:
        return await killed.head(client) >= begin + events

    await until(has_come)
    hub.process.kill()
    await hub.process.wait()
