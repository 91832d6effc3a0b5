"""Facts about schedules, by which workflows run at their times.

Of each time there are two: `scheduled_time` is what the timetable says, and names the time for good; a jitter may let
it run somewhat later, which is what `next_run_at` says.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from executor.domain.events.base import Event
from executor.domain.values import Instant


class Overlap(StrEnum):
    """What happens at a time whose predecessor's execution still runs."""

    SKIP = "skip"
    QUEUE = "queue"
    CANCEL = "cancel"
    ALLOW = "allow"


class CatchUp(StrEnum):
    """What happens with times at which nobody was there to run them."""

    NONE = "none"
    LATEST = "latest"
    ALL = "all"


class SkipReason(StrEnum):
    MISSED = "missed"
    OVERLAP = "overlap"
    QUEUE_FULL = "queue_full"
    WORKFLOW = "workflow"
    PARAMETERS = "parameters"


class ScheduleEvent(Event, frozen=True, kw_only=True):
    name: str


class ScheduleFacts(ScheduleEvent, frozen=True, kw_only=True):
    """The whole of a schedule. Either `cron` or `interval_seconds` is there; intervals are counted from `anchor`.
    Secret parameters are sealed. `next_time` and `next_run_at` are null where no time is left, or it is paused."""

    workflow_id: str
    description: str | None
    cron: str | None
    interval_seconds: int | None
    anchor: Instant
    timezone: str
    parameters: dict[str, Any]
    priority: int | None
    tags: tuple[str, ...]
    project_id: str | None
    overlap_policy: str
    queue_limit: int
    catch_up: str
    catch_up_window_seconds: int
    jitter_seconds: int
    start_at: Instant | None
    end_at: Instant | None
    next_time: Instant | None
    next_run_at: Instant | None


class ScheduleCreated(ScheduleFacts, frozen=True, kw_only=True):
    type: ClassVar[str] = "schedule.created"
    is_paused: bool = False


class ScheduleUpdated(ScheduleFacts, frozen=True, kw_only=True):
    type: ClassVar[str] = "schedule.updated"
    changed: tuple[str, ...]


class SchedulePaused(ScheduleEvent, frozen=True, kw_only=True):
    type: ClassVar[str] = "schedule.paused"
    reason: str | None = None


class ScheduleResumed(ScheduleEvent, frozen=True, kw_only=True):
    """Times that passed while it was paused are not caught up with."""

    type: ClassVar[str] = "schedule.resumed"
    next_time: Instant | None
    next_run_at: Instant | None


class ScheduleDeleted(ScheduleEvent, frozen=True, kw_only=True):
    """What waited in its queue was cancelled in the same append."""

    type: ClassVar[str] = "schedule.deleted"


class ScheduleFired(ScheduleEvent, frozen=True, kw_only=True):
    """An execution was created, in the same append. `is_manual` where somebody asked for it: then `scheduled_time` is
    when. One that `waits` starts when those before it have ended; `cancelled` are those that it took the place of."""

    type: ClassVar[str] = "schedule.fired"
    workflow_id: str
    scheduled_time: Instant
    execution_id: str
    is_manual: bool = False
    waits: bool = False
    cancelled: tuple[str, ...] = ()
    next_time: Instant | None
    next_run_at: Instant | None


class ScheduleReleased(ScheduleEvent, frozen=True, kw_only=True):
    """What was before it has ended, and the first execution of the queue that is still there starts; null where none
    is."""

    type: ClassVar[str] = "schedule.released"
    execution_id: str | None


class ScheduleSkipped(ScheduleEvent, frozen=True, kw_only=True):
    """Nothing runs at a time; with `until`, at all times from `scheduled_time` to before that one."""

    type: ClassVar[str] = "schedule.skipped"
    scheduled_time: Instant
    until: Instant | None = None
    reason: str
    message: str
    next_time: Instant | None
    next_run_at: Instant | None
