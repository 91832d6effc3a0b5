"""Acknowledged means on the disk: a process that is killed in a storm of appends leaves every one of them, whole."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path

from executor.clock import SystemClock
from executor.domain.workflow import WorkflowRow
from executor.ports import EventQuery, Recorded, RowQuery
from storage.open import open_store
from storage.sqlite.store import SqliteStore
from tests.contract.notes import AGGREGATES, CODEC, NoteWritten, note_row

ROUNDS = (3, 150, 500, 900)
"""After how many acknowledged appends each round's process is killed."""
ROOT = Path(__file__).parents[2]

Acknowledged = list[tuple[str, str, int]]


async def storm(url: str, lines: int) -> Acknowledged:
    """Kills the child once it has said so many lines, and answers all that it had said by then."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.kill_log_child",
        url,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        limit=1 << 24,
    )
    assert child.stdout is not None
    said = [await _line(child.stdout) for _ in range(lines)]
    child.kill()
    said += [line async for line in child.stdout if line.startswith(b"[[") and line.endswith(b"\n")]
    assert await child.wait() == -signal.SIGKILL
    return [(stream, id, position) for line in said for stream, id, position in json.loads(line)]


async def _line(stdout: asyncio.StreamReader) -> bytes:
    """The next line of the child's that says something acknowledged; its log goes to the same place."""
    while line := await stdout.readline():
        if line.startswith(b"[["):
            return line
    raise AssertionError("the child ended by itself")


async def test_what_was_acknowledged_survives_kill_9_and_no_batch_is_torn(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    acknowledged: Acknowledged = []
    for lines in ROUNDS:
        acknowledged += await storm(url, lines)
        store = await open_store(url, AGGREGATES, clock=SystemClock(), codec=CODEC)
        try:
            recorded = await store.log.read(EventQuery(limit=1_000_000))
            assert len(recorded) >= len(acknowledged) >= lines
            await check(store, recorded, acknowledged)
        finally:
            await store.close()


async def check(store: SqliteStore, recorded: list[Recorded], acknowledged: Acknowledged) -> None:
    at = {event.position: (event.stream, event.id, event.position) for event in recorded}
    assert list(at) == list(range(1, len(recorded) + 1))
    assert (await store.log.verify()).position == store.log.head == len(recorded)
    lost = [one for one in acknowledged if at.get(one[2]) != one]
    assert lost == []
    assert torn(recorded) == {}
    rows = await store.reads.find(WorkflowRow, RowQuery(limit=1_000_000))
    assert {row.id for row in rows} == {event.stream.removeprefix("note:") for event in recorded}
    for row in rows:
        state, version = await store.log.load(f"note:{row.id}")
        assert version % 2 == 0
        assert row == note_row(state)


def torn(recorded: list[Recorded]) -> dict[str, int]:
    """Appends of which some streams are there and others are not."""
    texts = (CODEC.decode(event.type, event.schema, event.data) for event in recorded if event.type == "note.written")
    groups = Counter(event.text for event in texts if isinstance(event, NoteWritten))
    return {group: count for group, count in groups.items() if count != int(group.split()[1])}
