"""Facts about executions, their components, timers and log lines. All of one execution are in one stream."""

from __future__ import annotations

from typing import Any, ClassVar

from executor.domain.definition import Definition
from executor.domain.events.base import ComponentFacts, Event, ExecutionFacts, Failure
from executor.domain.values import Instant


class ExecutionCreated(ExecutionFacts, frozen=True, kw_only=True):
    """The immutable header of a run: whatever comes later needs only this and the later event."""

    type: ClassVar[str] = "execution.created"
    workflow_id: str
    workflow_version: int
    workflow_status: str
    definition: Definition
    parameters: dict[str, Any]
    tags: tuple[str, ...] = ()
    project_id: str | None = None
    scheduled_at: Instant | None = None
    created_by: str


class ExecutionStarted(ExecutionFacts, frozen=True, kw_only=True):
    """An engine claimed the execution for the first time."""

    type: ClassVar[str] = "execution.started"
    engine: str
    epoch: int


class ExecutionReclaimed(ExecutionFacts, frozen=True, kw_only=True):
    """Another engine took the execution over; whatever the former owner still says is refused."""

    type: ClassVar[str] = "execution.reclaimed"
    engine: str
    epoch: int


class ExecutionCompleted(ExecutionFacts, frozen=True, kw_only=True):
    type: ClassVar[str] = "execution.completed"
    results: dict[str, Any]


class ExecutionFailed(ExecutionFacts, frozen=True, kw_only=True):
    type: ClassVar[str] = "execution.failed"
    error: Failure


class ExecutionCancelled(ExecutionFacts, frozen=True, kw_only=True):
    type: ClassVar[str] = "execution.cancelled"
    cancelled_by: str
    reason: str | None = None


class ComponentStarted(ComponentFacts, frozen=True, kw_only=True):
    """`input_data` is the config with its references resolved; null where that passes 16 KiB."""

    type: ClassVar[str] = "component.started"
    generation: int = 0
    input_data: dict[str, Any] | None = None


class ComponentCompleted(ComponentFacts, frozen=True, kw_only=True):
    """`taken` are the indices of the definition's connections that were found true."""

    type: ClassVar[str] = "component.completed"
    output_data: Any = None
    taken: tuple[int, ...] = ()


class ComponentFailed(ComponentFacts, frozen=True, kw_only=True):
    """The component is spent. With an empty `taken` nobody handles its failure."""

    type: ClassVar[str] = "component.failed"
    error: Failure
    retry_count: int = 0
    taken: tuple[int, ...] = ()


class ComponentRetryScheduled(ComponentFacts, frozen=True, kw_only=True):
    """An attempt failed and another follows at `retry_at`."""

    type: ClassVar[str] = "component.retry_scheduled"
    error: Failure
    retry_count: int
    retry_at: Instant


class ComponentSkipped(ComponentFacts, frozen=True, kw_only=True):
    """No connection into the component was taken."""

    type: ClassVar[str] = "component.skipped"


class ComponentCancelled(ComponentFacts, frozen=True, kw_only=True):
    """The component was running or waiting when its execution ended."""

    type: ClassVar[str] = "component.cancelled"


class TimerScheduled(Event, frozen=True, kw_only=True):
    type: ClassVar[str] = "timer.scheduled"
    component_id: str
    iteration: str = ""
    fires_at: Instant


class TimerFired(Event, frozen=True, kw_only=True):
    type: ClassVar[str] = "timer.fired"
    component_id: str
    iteration: str = ""
    fires_at: Instant


class LogWritten(Event, frozen=True, kw_only=True):
    """A line that a component wrote. `metadata` is whatever it said beside the message."""

    type: ClassVar[str] = "log.written"
    level: str
    message: str
    component_id: str | None = None
    metadata: dict[str, Any] | None = None
