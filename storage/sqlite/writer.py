"""The one thread that writes. It takes all that waits, writes it in one transaction, flushes once, and answers all.

Nothing waits for a timer: what arrives while a transaction is on its way to the disk makes up the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

import structlog

from executor.domain.errors import Unavailable
from executor.ports import Appended, Recorded
from storage.plan import Prepared
from storage.sqlite.batch import Appender
from storage.sqlite.errors import is_unavailable, translate

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]
"""Statements to run inside the writer's transaction. Run again by itself if the transaction fails on data."""

Publish = Callable[[Sequence[Recorded]], None]

_MAX_WORKS: Final = 1000
_MAX_BYTES: Final = 4 * 1024 * 1024
_log = structlog.get_logger(__name__)


class _Work(Generic[T]):
    """An append or a job, and who waits for it."""

    __slots__ = ("answer", "future", "job", "prepared")

    def __init__(self, future: asyncio.Future[T], prepared: Prepared | None, job: Job[T] | None) -> None:
        self.future, self.prepared, self.job = future, prepared, job
        self.answer: Any = None

    @property
    def size(self) -> int:
        return self.prepared.size if self.prepared is not None else 0


class Writer:
    """Owns the writing connection from its first moment to its last. `publish` is called on the loop with what was
    committed, before those who wait for it hear."""

    def __init__(self, connection: sqlite3.Connection, appender: Appender, publish: Publish) -> None:
        self._connection = connection
        self._appender = appender
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Work[Any] | None] = SimpleQueue()
        self._closed = False
        self.transactions = 0
        """How many were committed: their share of the work is the size of a batch."""
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="runcast-writer", daemon=True)
        self._thread.start()

    async def append(self, prepared: Prepared) -> tuple[Appended, ...]:
        """Raises `Conflict`, `NameTaken`, `Unavailable`, what the aggregate raised. Cancelling the caller only stops
        the waiting."""
        future: asyncio.Future[tuple[Appended, ...]] = self._loop.create_future()
        return await self._submit(_Work(future, prepared, None))

    async def run(self, job: Job[T]) -> T:
        """A job's answer once it is durable. If it raises, only its own statements are undone."""
        future: asyncio.Future[T] = self._loop.create_future()
        return await self._submit(_Work(future, None, job))

    async def close(self) -> None:
        """Finishes what was submitted, then closes the connection, which leaves the whole log in the file itself."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.shield(self._ended)
        self._thread.join()

    async def _submit(self, work: _Work[T]) -> T:
        if self._closed:
            raise Unavailable("the database is closed")
        self._queue.put(work)
        return await work.future

    # What follows runs on the writer's thread, except `_answer`.

    def _run(self) -> None:
        is_last = False
        while not is_last:
            batch, is_last = self._gather()
            if batch:
                recorded = self._commit(batch)
                self._call(self._answer, batch, recorded)
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._call(self._end)

    def _gather(self) -> tuple[list[_Work[Any]], bool]:
        """Waits for something to do, and takes with it what waits too; and whether that was the last."""
        batch: list[_Work[Any]] = []
        size = 0
        try:
            work = self._queue.get()
            while work is not None:
                batch.append(work)
                size += work.size
                if len(batch) == _MAX_WORKS or size >= _MAX_BYTES:
                    return batch, False
                work = self._queue.get_nowait()
        except Empty:
            return batch, False
        return batch, True

    def _commit(self, batch: list[_Work[Any]]) -> list[Recorded]:
        try:
            return self._transaction(batch)
        except Exception as error:
            self._roll_back()
            if len(batch) == 1 or is_unavailable(error):
                for work in batch:
                    work.answer = translate(error)
                return []
            _log.warning("batch failed; trying its members one by one", size=len(batch), error=str(error))
            return [recorded for work in batch for recorded in self._commit([work])]

    def _transaction(self, batch: list[_Work[Any]]) -> list[Recorded]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        appends = [work for work in batch if work.prepared is not None]
        written = self._appender.write(connection, [work.prepared for work in appends if work.prepared is not None])
        for work, result in zip(appends, written.results, strict=True):
            work.answer = result
        for work in batch:
            if work.job is not None:
                work.answer = _run_job(connection, work.job, alone=len(batch) == 1)
        connection.execute("COMMIT")
        self._appender.committed()
        self.transactions += 1
        return written.recorded

    def _roll_back(self) -> None:
        self._appender.forget()
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has gone, and with it all who waited
            self._loop.call_soon_threadsafe(function, *args)

    def _answer(self, batch: list[_Work[Any]], recorded: list[Recorded]) -> None:
        if recorded:
            self._publish(recorded)
        for work in batch:
            if work.future.done():
                continue
            if isinstance(work.answer, Exception):
                work.future.set_exception(work.answer)
            else:
                work.future.set_result(work.answer)

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


def _run_job(connection: sqlite3.Connection, job: Job[Any], *, alone: bool) -> Any:
    """A job's answer, or what it raised after its statements were undone. `alone` needs no savepoint: whatever it
    raises undoes the transaction."""
    if alone:
        return job(connection)
    connection.execute("SAVEPOINT job")
    try:
        answer = job(connection)
    except Exception as error:
        if is_unavailable(error) or not connection.in_transaction:
            raise
        connection.execute("ROLLBACK TO job")
        answer = translate(error)
    connection.execute("RELEASE job")
    return answer
