"""What a run consists of: its header, its components, its loops and their iterations, signals that wait."""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Struct

from executor.domain.events import Failure
from executor.domain.events.execution import Parent
from executor.domain.values import ComponentStatus, Instant, component_key


class ComponentState(Struct, frozen=True, kw_only=True):
    """One component of a run, in one iteration of the loops around it. `attempt` counts starts; `failures` only those
    that ended in failure. `version` is the stream's as of the last fact about it, however many facts came
    together."""

    id: str
    type: str
    sequence: int
    iteration: str = ""
    status: ComponentStatus
    attempt: int = 0
    failures: int = 0
    generation: int = 0
    input_data: Any = None
    output_data: Any = None
    error: Failure | None = None
    started_at: Instant | None = None
    first_started_at: Instant | None = None
    completed_at: Instant | None = None
    duration: float | None = None
    taken: tuple[int, ...] = ()
    version: int = 0

    @property
    def key(self) -> str:
        return component_key(self.id, self.iteration)


class Header(Struct, frozen=True, kw_only=True):
    """What never changes in a run, but for the version and the parameters, which a retry may."""

    id: str
    organization_id: str
    workflow_id: str
    workflow_name: str
    workflow_version: int
    workflow_status: str
    parameters: dict[str, Any]
    tags: tuple[str, ...]
    project_id: str | None
    scheduled_at: Instant | None
    created_by: str
    created_at: Instant
    triggered_by: str
    parent: Parent | None = None


class Signal(NamedTuple):
    """One that came and that nobody took yet. `number` is the stream's version of its event."""

    number: int
    at: Instant
    data: Any


class Iteration(Struct, frozen=True, kw_only=True):
    """One pass of a loop that is under way. `path` are the indices of all loops around its components; `left` counts
    those that have not ended; `failure` is the first that nobody handles."""

    loop: str
    index: int
    path: str
    left: int
    failure: Failure | None = None


class Loop(Struct, frozen=True, kw_only=True):
    """A loop that is under way: `count` iterations (None: while a condition holds), the one at `following` is the
    next. `items` are what they go over; `failure` is the first of an iteration; `size` is what their outputs take in
    bytes."""

    count: int | None
    max_concurrency: int
    items: list[Any] | None
    following: int = 0
    open: int = 0
    failure: Failure | None = None
    size: int = 0
