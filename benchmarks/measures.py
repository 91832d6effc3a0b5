"""What `steps.py` measures, each in a process of its own: `measures.py NAME ARGUMENTS`, these as a JSON list. Prints
what was found as JSON; seconds and bytes. On uvloop, as a hub runs."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

import structlog
import uvloop
from engines import Bench, Step, holds, opened
from shapes import LONG, fan, sequence, waiting

from executor.engine import Engine

AROUND: Final = 50
"""Steps before and behind a point of the history that say what a step costs there."""
PATIENCE: Final = 120
HELD: Final = 0.01
"""Seconds from which on a tick that comes late counts."""
Result = dict[str, Any]


async def runs(url: str, type: str, at_once: int, count: int) -> Result:
    async with opened(url) as bench, bench.running():
        await until_ended(bench, sequence(5, type), 1)
        bench.timed.steps.clear()
        cpu = time.process_time()
        took = await until_ended(bench, sequence(count, type), at_once)
        cpu, steps = time.process_time() - cpu, at_once * count
        return {"per_second": steps / took, "cpu": cpu / steps, "gaps": gaps(bench.timed.steps)}


async def until_ended(bench: Bench, raw: dict[str, Any], at_once: int) -> float:
    """Seconds from the creation of so many runs until the last has ended."""
    definition, before = bench.compiled(raw), bench.store.log.head
    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.happening("execution.completed", at_once, before))
        for _ in range(at_once):
            group.create_task(bench.create(definition))
    return time.perf_counter() - start


def gaps(steps: Iterable[Step]) -> list[float]:
    """Seconds between the steps of each run."""
    runs: dict[str, list[Step]] = {}
    for step in steps:
        runs.setdefault(step.execution_id, []).append(step)
    return [after.began - before.ended for each in runs.values() for before, after in pairwise(each)]


async def memory(url: str, count: int) -> Result:
    async with opened(url) as bench, bench.running() as engine:
        await until_ended(bench, sequence(5, "timed"), 1)
        empty, start = resident(), time.perf_counter()
        await until_parked(bench, engine, count // 2)
        half = resident()
        await until_parked(bench, engine, count - count // 2)
        return {"empty": empty, "half": half, "full": resident(), "took": time.perf_counter() - start}


async def until_parked(bench: Bench, engine: Engine, count: int) -> None:
    definition, before = bench.compiled(waiting()), bench.store.log.head
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.happening("timer.scheduled", count, before))
        group.create_task(bench.create_many(definition, count))
    while engine.owned:
        await asyncio.sleep(0)


def resident() -> int:
    """Bytes of this process that are in memory."""
    gc.collect()
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def join(url: str, branches: int) -> Result:
    async with opened(url) as bench, bench.running():
        await until_ended(bench, sequence(5, "timed"), 1)
        async with holds() as held:
            took = await until_ended(bench, fan(branches), 1)
        return {"took": took, "longest": max(held), "held": sum(late for late in held if late > HELD)}


async def history(url: str, shape: str, points: list[int]) -> Result:
    async with opened(url) as bench, bench.running():
        await until_ended(bench, sequence(5, "timed"), 1)
        bench.timed.steps.clear()
        took = await until_ended(bench, LONG[shape](points[-1]), 1)
        steps = bench.timed.steps
        assert len(steps) == points[-1]
        spans = [steps[max(0, point - AROUND) : point + AROUND] for point in points]
        costs = [median(after.began - before.began for before, after in pairwise(span)) for span in spans]
        cpu = [(span[-1].cpu - span[0].cpu) / (len(span) - 1) for span in [*spans, steps]]
        return {"costs": [*costs, took / len(steps)], "cpu": cpu}


async def killed(url: str, shape: str, count: int) -> Result:
    """Ends with the process, in the middle of its run."""
    async with opened(url) as bench, bench.running():
        bench.timed.noticed = lambda began: began < count // 2 or os.kill(os.getpid(), signal.SIGKILL)
        await until_ended(bench, LONG[shape](count), 1)
    raise RuntimeError("it should have been killed")


async def takeover(url: str) -> Result:
    begun, start = asyncio.Event(), time.perf_counter()
    async with opened(url) as bench:
        bench.timed.noticed = lambda began: begun.set()
        async with bench.running():
            await asyncio.wait_for(begun.wait(), PATIENCE)
            return {"took": time.perf_counter() - start}


MEASURES: Final[dict[str, Callable[..., Awaitable[Result]]]] = {
    each.__name__: each for each in (runs, memory, join, history, killed, takeover)
}


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print(json.dumps(uvloop.run(MEASURES[sys.argv[1]](*json.loads(sys.argv[2])))))
