"""A client of event streams that follows the specification's own way of reading them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiohttp
import msgspec

from tests.integration.hubs import Answer, Client


class Sent(NamedTuple):
    """An event that was dispatched."""

    id: str
    event: str
    data: Any


class Source:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation"""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.last_event_id = ""
        self.retry: int | None = None
        self.comments: list[str] = []

    async def events(self) -> AsyncIterator[Sent]:
        """Until the stream ends."""
        event, data = "", list[str]()
        async for line in self.answer.content:
            text = line.decode().removesuffix("\n")
            name, _, value = text.partition(":")
            value = value.removeprefix(" ")
            if not text:
                if data:
                    yield Sent(self.last_event_id, event, msgspec.json.decode("\n".join(data)))
                event, data = "", []
            elif not name:
                self.comments.append(value)
            elif name == "event":
                event = value
            elif name == "data":
                data.append(value)
            elif name == "id":
                self.last_event_id = value
            elif name == "retry":
                self.retry = int(value)

    async def begun(self) -> None:
        """Its first block was read."""
        while not self.last_event_id:
            line = await self.answer.content.readline()
            if line.startswith(b"id: "):
                self.last_event_id = line[4:].decode().strip()

    async def take(self, count: int) -> list[Sent]:
        """The next events."""
        taken: list[Sent] = []
        async with asyncio.timeout(30), contextlib.aclosing(self.events()) as events:  # type: ignore[type-var]
            while len(taken) < count:
                taken.append(await anext(events))
        return taken

    async def to_its_end(self) -> list[Sent]:
        async with asyncio.timeout(30):
            return [sent async for sent in self.events()]


@contextlib.asynccontextmanager
async def streaming(client: Client, *, last_event_id: str | None = None, **query: Any) -> AsyncIterator[Source]:
    """A stream that was accepted."""
    headers = {} if client.key is None else {"X-API-Key": client.key}
    if last_event_id is not None:
        headers["Last-Event-ID"] = last_event_id
    url = f"{client.url}/api/v1/events/stream"
    async with client.http.get(url, params=query, headers=headers, timeout=aiohttp.ClientTimeout(None)) as answer:
        assert answer.status == 200, await answer.read()
        yield Source(answer)


async def refused(client: Client, *, last_event_id: str | None = None, **query: Any) -> Answer:
    """The answer of a stream that is not begun."""
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    async with asyncio.timeout(30):
        return await client.send("GET", "/events/stream", headers=headers, **query)
