"""What all events are, and the stamp that the log puts on each."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from msgspec import Struct

from executor.domain.values import Instant, Progress, component_key


class Event(Struct, frozen=True, kw_only=True):
    """A fact. `type` is its name in the log and for ever; the fields are its `data`."""

    type: ClassVar[str]


class Failure(Struct, frozen=True, kw_only=True):
    """Why a component or an execution failed."""

    code: str
    message: str
    component_id: str | None = None
    details: dict[str, object] | None = None


class ExecutionFacts(Event, frozen=True, kw_only=True):
    """What every `execution.*` event says, so that a message or a webhook body needs nothing else.

    `duration` is seconds since the execution started; null before that.
    """

    workflow_name: str
    status: str
    priority: int
    progress: Progress
    duration: float | None = None
    started_at: Instant | None = None


class ComponentFacts(Event, frozen=True, kw_only=True):
    """What every `component.*` event says. `status` and `duration` (seconds) are the component's own; those of
    the execution it belongs to are beside them."""

    workflow_name: str
    status: str
    priority: int
    progress: Progress
    duration: float | None = None
    started_at: Instant | None = None
    execution_status: str
    execution_started_at: Instant | None = None
    execution_duration: float | None = None
    component_id: str
    component_type: str
    iteration: str = ""
    attempt: int = 1

    @property
    def key(self) -> str:
        return component_key(self.component_id, self.iteration)


class Stamp(NamedTuple):
    """What the log knows of an event: a fold may use it, a decider brings a provisional one."""

    time: Instant
    organization_id: str
    id: str
    """Of the aggregate: what follows the prefix in the stream's name."""
    version: int
    actor: str = "system"


class Fact(NamedTuple):
    """An event with its stamp: what a fold takes."""

    event: Event
    stamp: Stamp
