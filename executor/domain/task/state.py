"""What is known of a task, folded from its events."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct, structs

from executor.domain.events import Event, Fact, Stamp
from executor.domain.events import task as events
from executor.domain.events.task import Level, TaskFacts
from executor.domain.values import ComponentStatus, Instant

STREAMS: Final = "task:"
"""How the names of their streams begin, and the keys of the signals by which runs wait for them: no client can send a
signal with a colon."""


class TaskKind(StrEnum):
    HUMAN = "human"
    EXTERNAL = "external"


OPEN: Final = (ComponentStatus.PENDING, ComponentStatus.ASSIGNED, ComponentStatus.RUNNING)


def stream(id: str) -> str:
    """Of a task, and the key of the signal that its run waits for."""
    return f"{STREAMS}{id}"


class State(Struct, frozen=True, kw_only=True):
    """The facts of the last event, and what was said when it was created. An unborn task has no status.

    `lease_id` names the claim of the worker that has an external task; `levels` counts those of the escalation that
    came."""

    id: str = ""
    organization_id: str = ""
    workflow_id: str = ""
    execution_id: str = ""
    workflow_name: str = ""
    component_id: str = ""
    iteration: str = ""
    attempt: int = 1
    kind: str = ""
    task_type: str | None = None
    title: str = ""
    description: str | None = None
    status: str = ""
    priority: int = 5
    assignee: str | None = None
    candidates: tuple[str, ...] = ()
    form: dict[str, Any] | None = None
    data: Any = None
    input: Any = None
    due_at: Instant | None = None
    escalation: tuple[Level, ...] = ()
    levels: int = 0
    lease_seconds: float | None = None
    lease_id: str | None = None
    claims: int = 0
    output: Any = None
    notes: str | None = None
    error: str | None = None
    reason: str | None = None
    ended_by: str | None = None
    created_at: Instant = Instant("")
    assigned_at: Instant | None = None
    started_at: Instant | None = None
    completed_at: Instant | None = None
    updated_at: Instant = Instant("")
    version: int = 0

    @property
    def is_there(self) -> bool:
        return self.status != ""

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def is_human(self) -> bool:
        return self.kind == TaskKind.HUMAN

    @property
    def wakes_at(self) -> Instant | None:
        """When the next level of its escalation comes."""
        return self.escalation[self.levels].at if self.is_open and self.levels < len(self.escalation) else None


def initial() -> State:
    return State()


def evolve(state: State, facts: Sequence[Fact]) -> State:
    for event, stamp in facts:
        state = _fold(state, event, stamp)
    return state


_FACTS: Final = TaskFacts.__struct_fields__


def _fold(state: State, event: Event, stamp: Stamp) -> State:
    if not isinstance(event, TaskFacts):
        raise TypeError(f"a task does not fold {event.type}")
    facts = {name: getattr(event, name) for name in _FACTS}
    state = structs.replace(state, **facts, version=stamp.version, updated_at=stamp.time)
    return structs.replace(state, **_changes(state, event, stamp))


def _changes(state: State, event: TaskFacts, stamp: Stamp) -> dict[str, Any]:
    match event:
        case events.TaskCreated():
            return _created(event, stamp)
        case events.TaskAssigned():
            return {"assigned_at": stamp.time}
        case events.TaskStarted():
            return {
                "assigned_at": stamp.time if event.lease_id else state.assigned_at,
                "started_at": stamp.time,
                "lease_id": event.lease_id,
                "claims": state.claims + (event.lease_id is not None),
            }
        case events.TaskReleased():
            return {"assigned_at": None, "started_at": None, "lease_id": None}
        case events.TaskReassigned():
            return {"assigned_at": stamp.time, "started_at": None}
        case events.TaskEscalated():
            return {"levels": event.level}
        case events.TaskCompleted():
            said = {"output": event.output, "notes": event.notes, "ended_by": event.completed_by}
        case events.TaskFailed():
            said = {"error": event.error, "ended_by": event.failed_by}
        case events.TaskCancelled():
            said = {"reason": event.reason, "ended_by": event.cancelled_by}
        case _:
            return {}
    return said | {"completed_at": stamp.time, "lease_id": None}


def _created(event: events.TaskCreated, stamp: Stamp) -> dict[str, Any]:
    said = ("description", "candidates", "form", "data", "input", "escalation", "lease_seconds")
    return {name: getattr(event, name) for name in said} | {
        "id": stamp.id,
        "organization_id": stamp.organization_id,
        "created_at": stamp.time,
    }
