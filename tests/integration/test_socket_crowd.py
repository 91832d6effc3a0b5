"""Ten who never read among two hundred who do, on a hub in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import aiohttp

from tests.integration.hubs import Client, Up, until, up
from tests.integration.wire import Wire, wired

READERS, SLEEPERS = 200, 10
ITEMS = 1700
"""Each makes three messages of an execution, and one more event."""
MOST_GROWN = 32 * 1024 * 1024
"""Ten times what may be unsent and a page, 4 MiB, and what the allocator keeps. All that the ten did not read is more
than twice as much."""
FLOOD: dict[str, Any] = {
    "components": [
        {"id": "start", "type": "start"},
        {
            "id": "each",
            "type": "loop",
            "config": {
                "items": "${workflow.input.items}",
                "max_concurrency": 50,
                "body": {"components": [{"id": "say", "type": "log", "config": {"message": "x" * 200}}]},
            },
        },
    ],
    "connections": [{"source": "start", "target": "each"}],
}


EVENTS, RUNS = {"channel": "events"}, {"channel": "execution", "execution_id": "*"}


class Door(NamedTuple):
    url: str


class Reader:
    """Keeps no more of what comes than its length and a checksum."""

    def __init__(self, wire: Wire) -> None:
        self.wire, self.count, self.checksum = wire, 0, 0
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        loop, room = asyncio.get_running_loop(), memoryview(bytearray(256 * 1024))
        while size := await loop.sock_recv_into(self.wire.sock, room):
            self.count += size
            self.checksum = crc32(room[:size], self.checksum)


def resident_bytes(hub: Up) -> int:
    text = Path(f"/proc/{hub.process.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) * 1024


async def subscribed(stack: AsyncExitStack, hub: Up, since: int, said: dict[str, str]) -> Wire:
    door = Door(hub.url.replace("http", "ws", 1) + "/api/v1/ws")
    wire = await stack.enter_async_context(wired(door, hub.key))
    await wire.welcomed()
    await wire.subscribed(**said, since=since)
    return wire


async def flood(client: Client, workflow_id: str) -> int:
    """Runs to its end; the position of the last event."""
    execution_id = await client.execution(workflow_id, parameters={"items": list(range(ITEMS))})

    async def ended() -> Any:
        newest = await client.get("/events", order="desc", limit=1)
        return newest.data if newest.data[0]["type"] == "execution.completed" else None

    (last,) = await until(ended, 60)
    assert last["execution_id"] == execution_id
    return int(last["position"])


async def alike(readers: Sequence[Reader]) -> None:
    """Returns once they have got the same bytes, and some."""

    async def are_alike() -> bool:
        return readers[0].count > 0 and len({(reader.count, reader.checksum) for reader in readers}) == 1

    await until(are_alike, 90)


async def test_those_who_never_read_cost_their_bound_and_get_everything_once_they_do(tmp_path: Path) -> None:
    async with up(tmp_path / "data") as hub, aiohttp.ClientSession() as http, AsyncExitStack() as stack:
        client = hub.client(http)
        workflow = await client.workflow(FLOOD)
        head = await flood(client, workflow["id"])  # Now all caches are as full as they get.
        readers = [Reader(await subscribed(stack, hub, head, RUNS)) for _ in range(READERS)]
        live = Reader(await subscribed(stack, hub, head, EVENTS))
        parsing, *sleepers = [await subscribed(stack, hub, head, EVENTS) for _ in range(SLEEPERS)]
        before = resident_bytes(hub)
        through = await flood(client, workflow["id"])
        assert through - head >= 4 * ITEMS
        await alike(readers)
        assert resident_bytes(hub) - before < MOST_GROWN
        heard = [(await parsing.hear()).json["position"] for _ in range(through - head)]
        assert heard == list(range(head + 1, through + 1))
        awake = [Reader(sleeper) for sleeper in sleepers]
        await alike([live, *awake])
        tasks = [reader.task for reader in (live, *awake, *readers)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
