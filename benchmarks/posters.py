"""What webhooks are compared with, in a process that obeys orders on standard input: POSTs as fast as aiohttp makes
them, and a job of arq for each, on a Valkey of its own. Nothing is signed, kept, limited or tried again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import arq
import uvloop
from arq.connections import ArqRedis
from orders import Answer, heed
from payload import now
from redis.asyncio import ConnectionPool

from hub.valkey import EmbeddedValkey

ENQUEUED_AT_ONCE: Final = 200
_JOBS_AT_ONCE: Final = 1000
"""More make it no faster here."""


class Posters:
    def __init__(self, http: aiohttp.ClientSession, redis: ArqRedis) -> None:
        self._http, self._redis = http, redis
        self._numbers = itertools.count()
        self._url, self._body = "", b""

    async def post(self, url: str, size: int, count: int, at_once: int) -> Answer:
        """Each of those at once posts the next when it has its answer."""
        self._url, self._body = url, bytes(size)

        async def some(share: range) -> None:
            for _ in share:
                await self._post({})

        began = now()
        await asyncio.gather(*(some(range(first, count, at_once)) for first in range(at_once)))
        return {"began": began, "ended": now()}

    async def jobs(self, url: str, size: int, count: int) -> Answer:
        """Of jobs that wait in the queue; with a URL each of them posts. The time is that of the worker alone."""
        self._url, self._body = url, bytes(size)
        job = self._post if url else _nothing
        for first in range(0, count, ENQUEUED_AT_ONCE):
            left = min(ENQUEUED_AT_ONCE, count - first)
            await asyncio.gather(*(self._redis.enqueue_job("job") for _ in range(left)))
        worker = arq.Worker(
            functions=[arq.func(job, name="job", keep_result=0)],
            redis_pool=self._redis,
            burst=True,
            handle_signals=False,
            max_jobs=_JOBS_AT_ONCE,
            poll_delay=0.0,
            log_results=False,
        )
        began = now()
        await worker.main()
        ended = now()
        if worker.jobs_complete != count:
            raise RuntimeError(f"arq did {worker.jobs_complete} jobs of {count}")
        return {"began": began, "ended": ended}

    async def _post(self, context: dict[str, Any]) -> None:
        headers = {"Content-Type": "application/json", "webhook-id": str(next(self._numbers))}
        async with self._http.post(self._url, data=self._body, headers=headers) as answer:
            await answer.read()


async def _nothing(context: dict[str, Any]) -> None:
    pass


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[Posters]:
    with tempfile.TemporaryDirectory(prefix="runcast-bench-") as place:
        valkey = EmbeddedValkey(Path(place))
        await valkey.start()
        redis = ArqRedis(ConnectionPool.from_url(valkey.url))
        try:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
                yield Posters(http, redis)
        finally:
            await redis.aclose()
            await valkey.stop()


async def serve() -> None:
    logging.getLogger("arq").setLevel(logging.ERROR)
    async with opened() as posters:
        await heed(post=posters.post, jobs=posters.jobs)


if __name__ == "__main__":
    uvloop.run(serve())
