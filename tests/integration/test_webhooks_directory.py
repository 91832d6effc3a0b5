"""What a process knows of endpoints that another one changes, and as of when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from executor.ports import EndpointLimits, Reads
from tests.integration.receiving import World, until, world
from webhooks.directory import Directory
from webhooks.requests import UpdateWebhook


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def test_limits_say_as_of_when_they_are_known(hub: World) -> None:
    acme = await hub.organization("acme")
    directory, before = Directory(hub.store.log, hub.store.reads), hub.store.log.head
    state = (await hub.register(acme, "http://127.0.0.1:2/", max_in_flight=3)).state
    known = await directory.limits(state.shard)
    assert known.endpoints == {state.id: EndpointLimits(state.id, 3, False)}
    assert known.position == before, "it has not followed the log any further"
    following = asyncio.create_task(directory.run())

    async def followed() -> bool:
        return (await directory.limits(state.shard)).position == hub.store.log.head

    await until(followed)
    change = msgspec.convert({"ordered": True}, UpdateWebhook)
    await hub.webhooks.commands.update(acme, state.id, change)
    await until(followed)
    assert (await directory.limits(state.shard)).endpoints == {state.id: EndpointLimits(state.id, 3, True)}
    await hub.webhooks.commands.delete(acme, state.id)
    await until(followed)
    assert (await directory.limits(state.shard)).endpoints == {}
    following.cancel()
    await asyncio.wait([following])


class Slow:
    """Rows, of which each page is read, and answered only when `goes_on` is set."""

    def __init__(self, inner: Reads) -> None:
        self._inner = inner
        self.goes_on, self.has_read = asyncio.Event(), asyncio.Event()

    async def find(self, *arguments: Any) -> Any:
        found = await self._inner.find(*arguments)
        self.has_read.set()
        await self.goes_on.wait()
        return found


async def test_limits_that_change_while_they_are_read_are_as_of_before(hub: World) -> None:
    acme = await hub.organization("acme")
    state = (await hub.register(acme, "http://127.0.0.1:2/")).state
    reads: Any = Slow(hub.store.reads)
    directory, before = Directory(hub.store.log, reads), hub.store.log.head
    following = asyncio.create_task(directory.run())
    reading = asyncio.create_task(directory.limits(state.shard))
    await reads.has_read.wait()
    await hub.webhooks.commands.update(acme, state.id, msgspec.convert({"ordered": True}, UpdateWebhook))
    await until(lambda: directory._position == hub.store.log.head)
    reads.goes_on.set()
    read = await reading
    assert (read.endpoints[state.id].ordered, read.position) == (False, before)
    again = await directory.limits(state.shard)
    assert (again.endpoints[state.id].ordered, again.position) == (True, hub.store.log.head)
    following.cancel()
    await asyncio.wait([following])
