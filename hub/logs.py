"""The log of an execution, made from its events: what components wrote, and what happened to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from executor.domain.secrets import redact_json
from executor.domain.values import Instant
from executor.ports import Recorded


class LogEntry(Struct, frozen=True, kw_only=True):
    timestamp: Instant
    level: str
    component_id: str | None
    message: str
    metadata: dict[str, Any]


class _Data(Struct, frozen=True, kw_only=True):
    """What a line needs of any event of an execution."""

    component_id: str | None = None
    iteration: str = ""
    component_type: str | None = None
    attempt: int = 0
    duration: float | None = None
    level: str = "info"
    message: str = ""
    metadata: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    retry_at: str | None = None
    fires_at: str | None = None
    reason: str | None = None
    key: str | None = None
    signal: str | None = None
    priority: int | None = None
    former_priority: int | None = None
    from_component: str | None = None
    workflow_version: int | None = None
    count: int | None = None
    max_concurrency: int | None = None
    index: int | None = None


_Line = Callable[[_Data], tuple[str, str, dict[str, Any]]]


def _of(text: str, level: str = "info", *fields: str) -> _Line:
    """A line with a fixed text; `fields` of the event go into its metadata."""

    def line(data: _Data) -> tuple[str, str, dict[str, Any]]:
        error = (data.error or {}).get("message")
        message = f"{text}: {error}" if error else text
        return level, message, {name: getattr(data, name) for name in fields}

    return line


WRITTEN: Final = "log.written"
_LINES: dict[str, _Line] = {
    WRITTEN: lambda data: (data.level, data.message, data.metadata or {}),
    "execution.created": _of("Execution created"),
    "execution.started": _of("Execution started"),
    "execution.reclaimed": _of("Execution taken over by another engine", "warning"),
    "execution.paused": _of("Execution paused", "info", "reason"),
    "execution.resumed": _of("Execution resumed", "info", "reason"),
    "execution.signalled": _of("Signal received", "info", "key"),
    "execution.reprioritized": _of("Priority changed", "info", "former_priority", "priority"),
    "execution.retried": _of("Execution retried", "info", "from_component", "workflow_version", "reason"),
    "execution.completed": _of("Execution completed", "info", "duration"),
    "execution.failed": _of("Execution failed", "error", "duration"),
    "execution.cancelled": _of("Execution cancelled", "warning", "reason"),
    "execution.terminated": _of("Execution terminated", "warning", "reason"),
    "component.started": _of("Component started", "info", "component_type", "attempt"),
    "component.completed": _of("Component completed", "info", "attempt", "duration"),
    "component.failed": _of("Component failed", "error", "attempt", "duration"),
    "component.retry_scheduled": _of("Attempt failed, another follows", "warning", "attempt", "retry_at"),
    "component.skipped": _of("Component skipped", "debug"),
    "component.cancelled": _of("Component cancelled", "warning"),
    "timer.scheduled": _of("Waiting", "debug", "fires_at", "signal"),
    "timer.fired": _of("Waited", "debug"),
    "loop.started": _of("Loop started", "info", "count", "max_concurrency"),
    "iteration.completed": _of("Iteration completed", "debug", "index"),
    "iteration.failed": _of("Iteration failed", "warning", "index"),
}


def levels() -> dict[str, str]:
    """The level of the line of each type, but of those that components write."""
    return {type: line(_Data())[0] for type, line in _LINES.items() if type != WRITTEN}


def log_entry(recorded: Recorded) -> LogEntry | None:
    """The line of an event of an execution; None for a type that says nothing here, and for one that was archived."""
    line = _LINES.get(recorded.type)
    if line is None or not recorded.data:
        return None
    data = msgspec.json.decode(redact_json(recorded.data), type=_Data)
    level, message, metadata = line(data)
    if data.iteration:
        metadata = {"iteration": data.iteration} | metadata
    return LogEntry(
        timestamp=recorded.time, level=level, component_id=data.component_id, message=message, metadata=metadata
    )
