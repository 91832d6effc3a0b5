"""The bodies of POST and PUT `/schedules`, and what is wrong with them beyond their shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from executor.domain.errors import Code, Problem
from executor.domain.events.schedule import CatchUp, Overlap
from executor.domain.schedule import State
from executor.domain.schedule_decide import Change
from executor.domain.secrets import REDACTED
from executor.domain.values import Instant
from executor.timetable import cron_problem, is_timezone
from hub.priorities import PriorityValue, priority_of
from hub.times import TimeValue, time_of

YEAR_SECONDS = 366 * 86_400

Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S")]
Id = Annotated[str, Meta(max_length=64)]
Description = Annotated[str, Meta(max_length=1000)]
Cron = Annotated[str, Meta(min_length=1, max_length=255)]
Interval = Annotated[int, Meta(ge=1, le=YEAR_SECONDS)]
Timezone = Annotated[str, Meta(min_length=1, max_length=64)]
Tags = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=128)], ...], Meta(max_length=100)]
Project = Annotated[str, Meta(min_length=1, max_length=128)]
QueueLimit = Annotated[int, Meta(ge=1, le=1000)]
CatchUpValue = Annotated[
    bool | Literal["none", "latest", "all"] | None, Meta(description="must be none, latest or all, or true or false")
]
Window = Annotated[int, Meta(ge=1, le=YEAR_SECONDS)]
Jitter = Annotated[int, Meta(ge=0, le=86_400)]


class UpdateSchedule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PUT: fields left out keep their values, so do parameters that are `[REDACTED]`. Null means the default."""

    name: Name | UnsetType = UNSET
    workflow_id: Id | UnsetType = UNSET
    workflow_name: Name | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    cron: Cron | UnsetType | None = UNSET
    interval_seconds: Interval | UnsetType | None = UNSET
    timezone: Timezone | UnsetType | None = UNSET
    parameters: dict[str, Any] | UnsetType | None = UNSET
    priority: PriorityValue | UnsetType | None = UNSET
    tags: Tags | UnsetType | None = UNSET
    project_id: Project | UnsetType | None = UNSET
    overlap_policy: Overlap | UnsetType | None = UNSET
    queue_limit: QueueLimit | UnsetType | None = UNSET
    catch_up: CatchUpValue | UnsetType = UNSET
    catch_up_window_seconds: Window | UnsetType | None = UNSET
    jitter_seconds: Jitter | UnsetType | None = UNSET
    start_at: TimeValue | UnsetType | None = UNSET
    end_at: TimeValue | UnsetType | None = UNSET
    paused: bool | UnsetType | None = UNSET


class CreateSchedule(UpdateSchedule, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST: `name` must be there, a workflow, and either `cron` or `interval_seconds`."""

    name: Name


_NEW = State()
_SAID_OTHERWISE = {"paused": "is_paused"}
_FIELDS_OF_CHANGE = frozenset(Change.__struct_fields__)


def change_of(request: UpdateSchedule) -> Change:
    """A request as a change, its parameters still in clear. Raises `Invalid` for a time that no calendar has."""
    wanted: dict[str, Any] = {}
    for field in request.__struct_fields__:
        value, name = getattr(request, field), _SAID_OTHERWISE.get(field, field)
        if value is not UNSET and name in _FIELDS_OF_CHANGE:
            wanted[name] = getattr(_NEW, name) if value is None else _stored(field, value)
    return Change(**wanted)


def _stored(field: str, value: Any) -> Any:
    if field == "catch_up":
        return {True: str(CatchUp.ALL), False: str(CatchUp.NONE)}.get(value, value)
    if field == "priority":
        return priority_of(value)
    if field in ("start_at", "end_at"):
        return time_of(value, field)
    if field == "cron":
        return " ".join(value.split())
    return str(value) if field == "overlap_policy" else value


def problems_of(change: Change, stored: State | None, now: Instant) -> list[Problem]:
    """What is wrong with the times of a schedule, and with parameters that keep what is not there."""
    given = {name: value for name in change.__struct_fields__ if (value := getattr(change, name)) is not UNSET}
    after = structs.replace(stored or _NEW, **given)
    return [
        *_timing(given, after, is_new=stored is None),
        *_values(given, after, now),
        *_kept(given, stored or _NEW),
    ]


def _timing(given: dict[str, Any], after: State, *, is_new: bool) -> Iterator[Problem]:
    said = [name for name in ("cron", "interval_seconds") if given.get(name) is not None]
    if len(said) == 2:
        yield _problem("interval_seconds", "'interval_seconds' excludes 'cron': a schedule has one of them")
    elif not said and after.cron is None and after.interval_seconds is None:
        yield _problem("cron", "'cron' is required, or 'interval_seconds' in its place")
    elif not said and not is_new and any(name in given for name in ("cron", "interval_seconds")):
        yield from _emptied(given, after)


def _emptied(given: dict[str, Any], after: State) -> Iterator[Problem]:
    """Null for the one that it has, and nothing for the other."""
    for name, other in (("cron", "interval_seconds"), ("interval_seconds", "cron")):
        if name in given and getattr(after, other) is None:
            yield _problem(name, f"'{name}' cannot be null without '{other}' in its place")


def _values(given: dict[str, Any], after: State, now: Instant) -> Iterator[Problem]:
    if given.get("cron") is not None and (wrong := cron_problem(given["cron"], now)):
        yield _problem("cron", f"'{given['cron']}' is no cron expression that ever comes: {wrong}")
    if "timezone" in given and not is_timezone(given["timezone"]):
        yield _problem("timezone", f"'{given['timezone']}' is no IANA time zone, such as Europe/Berlin or UTC")
    if after.start_at is not None and after.end_at is not None and after.end_at <= after.start_at:
        field = "end_at" if "end_at" in given else "start_at"
        if field in given:
            yield _problem(field, "'end_at' must be after 'start_at'")


def _kept(given: dict[str, Any], stored: State) -> Iterator[Problem]:
    for name, value in given.get("parameters", {}).items():
        if value == REDACTED and name not in stored.parameters:
            said = f"{REDACTED} keeps what is stored, but nothing is stored here; give the value"
            yield _problem(f"parameters.{name}", said)


def _problem(field: str, message: str) -> Problem:
    return Problem(Code.VALIDATION_ERROR, message, field)
