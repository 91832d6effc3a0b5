"""A storm of appends that goes on until somebody kills it: run by `test_kill_log.py` as a process of its own.

For each append that was acknowledged it prints a line of JSON: `[[stream, event id, position], …]`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from executor.clock import SystemClock
from executor.ports import Appended, NewEvent, StreamAppend
from storage.open import open_store
from storage.sqlite.log import SqliteLog
from tests.contract.notes import AGGREGATES, CODEC, ORG, NoteNamed, NoteWritten

CLOCK = SystemClock()


def part(stream: str, known: tuple[Any, int], group: str) -> StreamAppend:
    """Two events, which say how many streams their append has and which one it is."""
    state, version = known
    events = (NoteWritten(text=group), NoteNamed(name=f"{stream} {version}"))
    return StreamAppend(
        stream=stream,
        expected=version,
        state=state,
        events=tuple(NewEvent(CLOCK.new_id(), event) for event in events),
        organization_id=ORG,
        execution_id=stream,
    )


def say(done: tuple[Appended, ...]) -> None:
    """In one write: a process that is killed says all of it or nothing."""
    lines = [[event.stream, event.id, event.position] for one in done for event in one.recorded]
    os.write(1, json.dumps(lines).encode() + b"\n")


async def write(log: SqliteLog, task: int) -> None:
    """Appends to one, two or three streams of its own at once, for ever."""
    streams = [f"note:{CLOCK.new_id()}" for _ in range(1 + task % 3)]
    known = [await log.load(stream) for stream in streams]
    while True:
        group = f"{CLOCK.new_id()} {len(streams)}"
        done = await log.append([part(stream, one, group) for stream, one in zip(streams, known, strict=True)])
        say(done)
        known = [(one.state, one.version) for one in done]
        if known[0][1] > 20:
            streams = [f"note:{CLOCK.new_id()}" for _ in streams]
            known = [await log.load(stream) for stream in streams]


async def main(url: str) -> None:
    store = await open_store(url, AGGREGATES, clock=CLOCK, codec=CODEC)
    await asyncio.gather(*(write(store.log, task) for task in range(32)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
