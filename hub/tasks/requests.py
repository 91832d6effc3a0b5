"""The bodies of the routes of tasks. Who does something is a text: a user's id or name, a worker's name."""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from executor.domain.values import PERSON_PATTERN

LONGEST_WAIT_SECONDS: Final = 60

Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        pattern=PERSON_PATTERN,
        description="must be 1 to 255 characters on one line",
    ),
]
Reason = Annotated[str, Meta(max_length=1000)]
Notes = Annotated[str, Meta(max_length=10_000)]
Message = Annotated[str, Meta(min_length=1, max_length=4096)]
LeaseSeconds = Annotated[float, Meta(ge=1, le=86_400)]


class ClaimTasks(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Up to `max` external tasks of these types for a worker. Where there are none, it waits for `wait_seconds`."""

    types: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=100)]
    worker_id: Name
    lease_seconds: LeaseSeconds | None = None
    max: Annotated[int, Meta(ge=1, le=100)] = 1
    wait_seconds: Annotated[float, Meta(ge=0, le=LONGEST_WAIT_SECONDS)] = 0


class ClaimTask(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person is the `assignee`, by default who asks; a worker is the `worker_id`."""

    assignee: Name | None = None
    worker_id: Name | None = None
    lease_seconds: LeaseSeconds | None = None


class Heartbeat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    worker_id: Name
    lease_seconds: LeaseSeconds | None = None


class _Done(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who says by whom it was done must be right about who has the task."""

    assignee: Name | None = None
    worker_id: Name | None = None

    @property
    def holder(self) -> str | None:
        return self.worker_id if self.worker_id is not None else self.assignee


class CompleteTask(_Done, frozen=True, kw_only=True, forbid_unknown_fields=True):
    output: Any = None
    notes: Notes | None = None


class FailTask(_Done, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`reason` is another word for `error`."""

    error: Message | None = None
    reason: Message | None = None
    retryable: bool = False


class ReleaseTask(_Done, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: Reason | None = None


class ReassignTask(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    assignee: Name
    reason: Reason | None = None


class CancelTask(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: Reason | None = None
