"""Facts about executions, their components, timers and log lines. All of one execution are in one stream."""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import Struct

from executor.domain.definition import Definition
from executor.domain.events.base import ComponentFacts, Event, ExecutionFacts, Failure
from executor.domain.values import Instant, component_key


class Parent(Struct, frozen=True, kw_only=True):
    """What opened a run: a component (with the path of its iteration) of another, which `waits` for it until it has
    ended once. `root_execution_id` is the run at the top, `depth` how many runs are above."""

    execution_id: str
    component_id: str
    iteration: str = ""
    root_execution_id: str
    depth: int = 1
    waits: bool = True


class ExecutionCreated(ExecutionFacts, frozen=True, kw_only=True):
    """The immutable header of a run: whatever comes later needs only this and the later event.

    One that is pending without `scheduled_at` waits to be started. `triggered_by` says what caused it, as an actor:
    `api_key:ULID`, `schedule:ULID`; null in what was created before that was kept.
    `callback_id` is the webhook that hears how it ends, beside those that ask for it."""

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
    triggered_by: str | None = None
    parent: Parent | None = None
    callback_id: str | None = None


class ExecutionStarted(ExecutionFacts, frozen=True, kw_only=True):
    """An engine claimed the execution for the first time, or for the first time since it was retried. `slot` is its
    place among those that its organization may run at once, `concurrency_slot` that among those with the same key of
    its workflow's; null where there is no limit. It has them until it ends."""

    type: ClassVar[str] = "execution.started"
    engine: str
    epoch: int
    slot: int | None = None
    concurrency_slot: int | None = None


class ExecutionReclaimed(ExecutionFacts, frozen=True, kw_only=True):
    """Another engine took the execution over; whatever the former owner still says is refused."""

    type: ClassVar[str] = "execution.reclaimed"
    engine: str
    epoch: int


class ExecutionPaused(ExecutionFacts, frozen=True, kw_only=True):
    """What runs may finish; nothing starts, and no time counts, until `execution.resumed`."""

    type: ClassVar[str] = "execution.paused"
    paused_by: str
    reason: str | None = None


class ExecutionResumed(ExecutionFacts, frozen=True, kw_only=True):
    """It goes on, with the status that it has now; also of a pending one that somebody started."""

    type: ClassVar[str] = "execution.resumed"
    resumed_by: str
    reason: str | None = None


class ExecutionSignalled(ExecutionFacts, frozen=True, kw_only=True):
    """Something came in that a component waits for, or will: `key` says which, `data` becomes its output."""

    type: ClassVar[str] = "execution.signalled"
    key: str
    data: Any = None


class ExecutionReprioritized(ExecutionFacts, frozen=True, kw_only=True):
    """`priority` is the new one."""

    type: ClassVar[str] = "execution.reprioritized"
    former_priority: int
    changed_by: str


class ExecutionRetried(ExecutionFacts, frozen=True, kw_only=True):
    """A run that failed or was cancelled waits in the queue again. Components that are not `kept` are pending again,
    a generation later. `definition` and `taken` (the connections that kept components take there) are those of
    another version than the run had; else the definition is null and `taken` is empty: it stays as it was.
    `parameters` are all of them."""

    type: ClassVar[str] = "execution.retried"
    workflow_version: int
    definition: Definition | None = None
    parameters: dict[str, Any]
    from_component: str | None = None
    kept: tuple[str, ...]
    taken: dict[str, tuple[int, ...]]
    retried_by: str
    reason: str | None = None


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


class ExecutionTerminated(ExecutionFacts, frozen=True, kw_only=True):
    """Ended by force: unlike a cancelled one, nobody waited for what ran, and it cannot be retried."""

    type: ClassVar[str] = "execution.terminated"
    terminated_by: str
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
    """The component waits: for a time, for a signal with this key (null: for none), or for whichever comes first."""

    type: ClassVar[str] = "timer.scheduled"
    component_id: str
    iteration: str = ""
    fires_at: Instant | None = None
    signal: str | None = None

    @property
    def key(self) -> str:
        return component_key(self.component_id, self.iteration)


class TimerFired(Event, frozen=True, kw_only=True):
    type: ClassVar[str] = "timer.fired"
    component_id: str
    iteration: str = ""
    fires_at: Instant

    @property
    def key(self) -> str:
        return component_key(self.component_id, self.iteration)


class LogWritten(Event, frozen=True, kw_only=True):
    """A line that a component wrote. `metadata` is whatever it said beside the message."""

    type: ClassVar[str] = "log.written"
    level: str
    message: str
    component_id: str | None = None
    iteration: str = ""
    metadata: dict[str, Any] | None = None
