"""The log of a task, made from its events: what happened to it, in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from executor.domain.secrets import redact_json
from executor.ports import Recorded
from hub.logs import LogEntry


class _Data(Struct, frozen=True, kw_only=True):
    """What a line needs of any event of a task."""

    component_id: str | None = None
    iteration: str = ""
    assignee: str | None = None
    former_assignee: str | None = None
    assigned_by: str | None = None
    lease_seconds: float | None = None
    reason: str | None = None
    level: int = 0
    notify: tuple[str, ...] = ()
    error: str | None = None
    retryable: bool = False
    notes: str | None = None
    duration: float | None = None


class _Line(Struct, frozen=True):
    text: Callable[[_Data], str]
    level: str = "info"
    fields: tuple[str, ...] = ()


_LINES: dict[str, _Line] = {
    "task.created": _Line(lambda data: "Task created"),
    "task.assigned": _Line(lambda data: f"Assigned to {data.assignee}", "info", ("assignee", "assigned_by")),
    "task.started": _Line(lambda data: f"Started by {data.assignee}", "info", ("assignee", "lease_seconds")),
    "task.released": _Line(
        lambda data: f"Released by {data.former_assignee}{_why(data.reason)}",
        "warning",
        ("former_assignee", "reason"),
    ),
    "task.reassigned": _Line(
        lambda data: f"Reassigned from {data.former_assignee or 'nobody'} to {data.assignee}{_why(data.reason)}",
        "info",
        ("former_assignee", "assignee", "reason"),
    ),
    "task.escalated": _Line(lambda data: f"Escalated to level {data.level}", "warning", ("level", "notify")),
    "task.completed": _Line(lambda data: "Task completed", "info", ("assignee", "notes", "duration")),
    "task.failed": _Line(
        lambda data: f"Task failed{_why(data.error)}", "error", ("assignee", "retryable", "duration")
    ),
    "task.cancelled": _Line(lambda data: f"Task cancelled{_why(data.reason)}", "warning", ("reason", "duration")),
    "task.retried": _Line(lambda data: "Execution retried from the task's component"),
}


def _why(reason: str | None) -> str:
    return f": {reason}" if reason else ""


def task_levels() -> dict[str, str]:
    """The level of the line of each type."""
    return {type: line.level for type, line in _LINES.items()}


def task_log_entry(recorded: Recorded) -> LogEntry | None:
    """The line of an event of a task; None for one that was archived."""
    line = _LINES.get(recorded.type)
    if line is None or not recorded.data:
        return None
    data = msgspec.json.decode(redact_json(recorded.data), type=_Data)
    metadata: dict[str, Any] = {"iteration": data.iteration} if data.iteration else {}
    metadata |= {name: getattr(data, name) for name in line.fields}
    return LogEntry(
        timestamp=recorded.time,
        level=line.level,
        component_id=data.component_id,
        message=line.text(data),
        metadata=metadata,
    )
