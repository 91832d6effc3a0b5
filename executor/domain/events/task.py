"""Facts about tasks: what a run waits for somebody outside to do. A secret in an `input` is sealed text."""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import Struct

from executor.domain.events.base import Event
from executor.domain.values import Instant


class Level(Struct, frozen=True, kw_only=True):
    """One step of an escalation: what happens to a task that is still open at a time."""

    at: Instant
    reassign_to: str | None = None
    notify: tuple[str, ...] = ()


class TaskFacts(Event, frozen=True, kw_only=True):
    """What every `task.*` event says, so that a message or a webhook body needs nothing else. `status` and `assignee`
    are those after the event; the assignee of an external task is the worker that has it."""

    workflow_id: str
    workflow_name: str
    execution_id: str
    component_id: str
    iteration: str = ""
    attempt: int = 1
    kind: str
    task_type: str | None = None
    title: str
    status: str
    priority: int
    assignee: str | None = None
    due_at: Instant | None = None


class TaskCreated(TaskFacts, frozen=True, kw_only=True):
    """`form` is the JSON Schema of what a person enters, `data` what they are shown; `input` is a worker's.
    `lease_seconds` is how long a worker has it that does not say."""

    type: ClassVar[str] = "task.created"
    description: str | None = None
    candidates: tuple[str, ...] = ()
    form: dict[str, Any] | None = None
    data: Any = None
    input: Any = None
    escalation: tuple[Level, ...] = ()
    lease_seconds: float | None = None


class TaskAssigned(TaskFacts, frozen=True, kw_only=True):
    """A task that nobody had is somebody's; `assigned_by` is null where its definition says so."""

    type: ClassVar[str] = "task.assigned"
    assigned_by: str | None = None


class TaskStarted(TaskFacts, frozen=True, kw_only=True):
    """Somebody is at it. Of an external task: a worker claimed it, under a lease of this id and length."""

    type: ClassVar[str] = "task.started"
    lease_id: str | None = None
    lease_seconds: float | None = None


class TaskReleased(TaskFacts, frozen=True, kw_only=True):
    """Nobody has it any more. `reason` is `lease_expired` where a worker was not heard of in time."""

    type: ClassVar[str] = "task.released"
    former_assignee: str | None = None
    reason: str | None = None


class TaskReassigned(TaskFacts, frozen=True, kw_only=True):
    """It is another's, who has not started; `reason` is `escalated` where nobody decided that but time."""

    type: ClassVar[str] = "task.reassigned"
    former_assignee: str | None = None
    reason: str | None = None


class TaskEscalated(TaskFacts, frozen=True, kw_only=True):
    """It was still open when a level of its escalation came. `level` counts from 1; `notify` are those to be told."""

    type: ClassVar[str] = "task.escalated"
    level: int
    notify: tuple[str, ...] = ()
    reassign_to: str | None = None


class TaskCompleted(TaskFacts, frozen=True, kw_only=True):
    """`duration` is seconds since the task was created."""

    type: ClassVar[str] = "task.completed"
    output: Any = None
    notes: str | None = None
    completed_by: str
    duration: float | None = None


class TaskFailed(TaskFacts, frozen=True, kw_only=True):
    """The component's attempt failed with it; where it is `retryable`, the component's retry policy counts."""

    type: ClassVar[str] = "task.failed"
    error: str
    retryable: bool = False
    failed_by: str
    duration: float | None = None


class TaskCancelled(TaskFacts, frozen=True, kw_only=True):
    """Nobody has to do it any more: somebody said so, or the run does not wait for it."""

    type: ClassVar[str] = "task.cancelled"
    reason: str | None = None
    cancelled_by: str | None = None
    duration: float | None = None


class TaskRetried(TaskFacts, frozen=True, kw_only=True):
    """The run goes on again from the task's component, which opens another task."""

    type: ClassVar[str] = "task.retried"
    retried_by: str
