"""Facts about loops inside of a run. What happens in an iteration are the facts of its components."""

from __future__ import annotations

from typing import Any, ClassVar

from executor.domain.events.base import Event, Failure
from executor.domain.values import Instant, component_key


class LoopEvent(Event, frozen=True, kw_only=True):
    """`component_id` is the loop's; `iteration` the path of the loops around it."""

    component_id: str
    iteration: str = ""

    @property
    def key(self) -> str:
        return component_key(self.component_id, self.iteration)


class LoopStarted(LoopEvent, frozen=True, kw_only=True):
    """The body runs `count` times (null: while a condition holds), at most `max_concurrency` at once. At `fires_at`
    the loop has taken as long as it may."""

    type: ClassVar[str] = "loop.started"
    count: int | None
    max_concurrency: int
    fires_at: Instant | None = None


class IterationCompleted(LoopEvent, frozen=True, kw_only=True):
    """`goes_on`: another follows, of a loop that runs while a condition holds."""

    type: ClassVar[str] = "iteration.completed"
    index: int
    output_data: Any = None
    goes_on: bool = False


class IterationFailed(LoopEvent, frozen=True, kw_only=True):
    """A component of the body failed, and nothing in the body handles that."""

    type: ClassVar[str] = "iteration.failed"
    index: int
    error: Failure
