"""What burns CPU, spread over processes: the same function for one stretch after the other, answers in order."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import connection
from typing import Any, Final, TypeVar

T = TypeVar("T")
Work = Callable[..., Coroutine[Any, Any, T]]
"""A coroutine function of a module's top level, whose arguments and answer can be pickled."""

_AHEAD: Final = 2


def cpus() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def workers(processes: int) -> Iterator[Workers]:
    """Without processes the work is done on a thread of this one, which saves them their start of half a second."""
    executor: Executor
    if processes:
        spawn = multiprocessing.get_context("spawn")
        executor = ProcessPoolExecutor(processes, mp_context=spawn, initializer=_tie)
    else:
        executor = ThreadPoolExecutor(1)
    try:
        yield Workers(executor, max(1, processes))
    finally:
        executor.shutdown(cancel_futures=True)


class Workers:
    def __init__(self, executor: Executor, count: int) -> None:
        self._executor = executor
        self._count = count

    async def in_order(self, work: Work[T], calls: Iterable[tuple[Any, ...]]) -> AsyncIterator[T]:
        """The answers in the order of the calls, a few of which are under way ahead of whoever takes them."""
        loop = asyncio.get_running_loop()
        under_way: deque[asyncio.Future[T]] = deque()
        waiting = iter(calls)
        try:
            while True:
                while len(under_way) < self._count * _AHEAD and (call := next(waiting, None)) is not None:
                    under_way.append(loop.run_in_executor(self._executor, _run, work, *call))
                if not under_way:
                    return
                yield await under_way.popleft()
        finally:
            for future in under_way:
                future.cancel()


def _run(work: Work[T], *arguments: Any) -> T:
    return asyncio.run(work(*arguments))


def _tie() -> None:
    """In a worker: Ctrl-C is for the process that started it to hear, whose end is also its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=follow, name="follow the parent", daemon=True).start()
