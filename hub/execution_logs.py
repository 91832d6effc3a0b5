"""The log of an execution: its own lines and those of its tasks, in the order in which they happened."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct, structs

from executor.domain.values import LogLevel
from executor.ports import EventLog, EventQuery, Recorded
from hub.logs import WRITTEN, LogEntry, levels, log_entry
from hub.tasks.history import task_levels, task_log_entry

_AT_ONCE: Final = 1000
_TASK: Final = "task:"
_FIXED: Final = levels() | task_levels()
"""The level of the line that an event of a type makes."""


class Asked(Struct, frozen=True, kw_only=True):
    """Which lines: of a level, of a component, of one of its iterations. `newest_first` turns their order round."""

    level: LogLevel | None = None
    component_id: str | None = None
    iteration: str | None = None
    newest_first: bool = False


class _Whose(Struct, frozen=True):
    component_id: str | None = None
    iteration: str = ""


class _Written(Struct, frozen=True):
    level: str = "info"


async def lines(
    log: EventLog, execution_id: str, organization_id: str, asked: Asked, start: int, end: int
) -> tuple[list[LogEntry], int]:
    """The lines from one number to another, and how many there are of these in all. Holds no more than it answers."""
    types = (WRITTEN, *(type for type, level in _FIXED.items() if asked.level in (None, level)))
    found: list[LogEntry] = []
    count, after, before = 0, 0, None
    while True:
        query = EventQuery(
            execution_id=execution_id,
            organization_id=organization_id,
            types=types,
            after=after,
            before=before,
            descending=asked.newest_first,
            limit=_AT_ONCE,
        )
        read = await log.read(query)
        for recorded in read:
            if recorded.data and _is_asked(recorded, asked):
                if start <= count < end:
                    found.append(_entry(recorded))
                count += 1
        if len(read) < _AT_ONCE:
            return found, count
        after, before = (0, read[-1].position) if asked.newest_first else (read[-1].position, None)


def _is_asked(recorded: Recorded, asked: Asked) -> bool:
    """The level of most was asked for with their type."""
    if recorded.type == WRITTEN and asked.level is not None:
        written = msgspec.json.decode(recorded.data, type=_Written)
        if written.level != asked.level:
            return False
    if asked.component_id is None and asked.iteration is None:
        return True
    whose = msgspec.json.decode(recorded.data, type=_Whose)
    is_there = asked.component_id in (None, whose.component_id)
    return is_there and asked.iteration in (None, whose.iteration)


def _entry(recorded: Recorded) -> LogEntry:
    """A task's line says so, among others'."""
    is_task = recorded.stream.startswith(_TASK)
    entry = task_log_entry(recorded) if is_task else log_entry(recorded)
    assert entry is not None
    if not is_task:
        return entry
    said = entry.message
    text = said if said.startswith(("Task", "Execution")) else f"Task {said[0].lower()}{said[1:]}"
    metadata = {"task_id": recorded.stream.removeprefix(_TASK)} | entry.metadata
    return structs.replace(entry, message=text, metadata=metadata)
