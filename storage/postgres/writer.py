"""The one task of a process that appends. It takes all that waits, writes it in one transaction, and answers all.

Nothing waits for a timer: what arrives while a transaction is on its way makes up the next one. Where the connection
breaks in the middle, nobody knows whether the commit happened: the same batch goes again over a new one, and its ids
tell. Cancelling who waits for an append cancels only the waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from executor.domain.errors import Unavailable
from executor.ports import Appended, Recorded
from storage.plan import Prepared
from storage.postgres.batch import Appender
from storage.postgres.connection import Connection
from storage.postgres.errors import is_lost, is_unavailable, translate
from storage.sql import named

Publish = Callable[[Sequence[Recorded]], None]
Notice = Callable[[int], None]
Connect = Callable[[], Awaitable[Connection]]

_MAX_WORKS: Final = 1000
_MAX_BYTES: Final = 4 * 1024 * 1024
_TRIES: Final = 3
_CLOSE_SECONDS: Final = 2.0
_log = structlog.get_logger(__name__)


class _Work:
    """An append, and who waits for it."""

    __slots__ = ("answer", "future", "prepared")

    def __init__(self, prepared: Prepared, future: asyncio.Future[tuple[Appended, ...]]) -> None:
        self.prepared, self.future = prepared, future
        self.answer: tuple[Appended, ...] | Exception = ()


class Writer:
    """`publish` is called with what was committed, before those who wait for it hear; `notice` with how far the log
    is known to have come where that is all that is known."""

    def __init__(self, connect: Connect, appender: Appender, publish: Publish, notice: Notice) -> None:
        self._connect = connect
        self._appender = appender
        self._publish = publish
        self._notice = notice
        self._queue: deque[_Work] = deque()
        self._wake = asyncio.Event()
        self._connection: Connection | None = None
        self._closed = False
        self.transactions = 0
        """How many were committed: their share of the work is the size of a batch."""
        self._task = asyncio.create_task(self._run(), name="postgres writer")

    async def append(self, prepared: Prepared) -> tuple[Appended, ...]:
        """Raises `Conflict`, `NameTaken`, `Unavailable`, what the aggregate raised."""
        if self._closed:
            raise Unavailable("the database is closed")
        work = _Work(prepared, asyncio.get_running_loop().create_future())
        self._queue.append(work)
        self._wake.set()
        return await work.future

    async def close(self) -> None:
        """Finishes what was submitted, then closes the connection; where the database does not answer, what is left
        was not appended, as far as anybody knows. May be called twice."""
        self._closed = True
        self._wake.set()
        _, pending = await asyncio.wait([self._task], timeout=_CLOSE_SECONDS)
        if pending:
            if self._connection is not None:
                self._connection.terminate()
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while self._queue or not self._closed:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = self._gather()
            try:
                recorded = await self._commit(batch)
            except asyncio.CancelledError:
                self._abandon([*batch, *self._queue])
                raise
            self._answer(batch, recorded)
        await self._drop()

    def _gather(self) -> list[_Work]:
        batch: list[_Work] = []
        size = 0
        while self._queue and len(batch) < _MAX_WORKS and size < _MAX_BYTES:
            batch.append(self._queue.popleft())
            size += batch[-1].prepared.size
        return batch

    async def _commit(self, batch: list[_Work], tries: int = _TRIES) -> list[Recorded]:
        try:
            return await self._transaction(batch)
        except Exception as error:
            self._appender.forget()
            if is_lost(error):
                await self._drop()
                if tries > 1 and not isinstance(error, TimeoutError):
                    return await self._commit(batch, tries - 1)
            else:
                await self._roll_back()
            if len(batch) == 1 or is_unavailable(error):
                answer = translate(error)
                if answer is not error:
                    _log.warning("postgres.append_failed", size=len(batch), error=type(error).__name__)
                for work in batch:
                    work.answer = answer
                return []
            _log.warning("postgres.batch_failed", size=len(batch), error=str(error), next="its members one by one")
            return [recorded for work in batch for recorded in await self._commit([work])]

    async def _transaction(self, batch: list[_Work]) -> list[Recorded]:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        connection = self._connection
        await connection.execute(named("storage.postgres")["begin"])
        written = await self._appender.write(connection, [work.prepared for work in batch])
        await connection.execute(written.end)
        self._appender.committed()
        self.transactions += 1
        for work, result in zip(batch, written.results, strict=True):
            work.answer = result
        return written.recorded

    def _answer(self, batch: list[_Work], recorded: list[Recorded]) -> None:
        if recorded:
            self._publish(recorded)
        for work in batch:
            if isinstance(work.answer, Exception):
                if not work.future.done():
                    work.future.set_exception(work.answer)
                continue
            for appended in work.answer:
                if appended.repeated and appended.recorded:
                    self._notice(appended.recorded[-1].position)
            if not work.future.done():
                work.future.set_result(work.answer)

    def _abandon(self, works: Sequence[_Work]) -> None:
        for work in works:
            if not work.future.done():
                work.future.set_exception(Unavailable("the database does not answer"))

    async def _roll_back(self) -> None:
        if self._connection is None:
            return
        try:
            await self._connection.execute("ROLLBACK")
        except Exception as error:
            _log.debug("postgres.rollback_failed", error=type(error).__name__)
            await self._drop()

    async def _drop(self) -> None:
        """Lets go of the connection, politely if it answers."""
        connection, self._connection = self._connection, None
        if connection is None or connection.is_closed():
            return
        with contextlib.suppress(Exception):
            await connection.close(timeout=_CLOSE_SECONDS)
