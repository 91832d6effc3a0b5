"""Small values that every room speaks: instants, statuses, priorities, retry policies, progress, ids.

Pure: the caller brings the time and fresh ids. Instants are RFC 3339 in UTC with exactly three fractional
digits and `Z`, so that comparing two of them as text compares them in time.
"""

from __future__ import annotations

import hashlib
import math
import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, NewType

from msgspec import Meta, Struct

Instant = NewType("Instant", str)
"""`2026-01-31T12:00:00.000Z`: fixed width, so text order is time order."""

Json = Any
"""A JSON value whose shape is not ours to know."""

DEEPEST = 100
"""How deep JSON may be nested: what walks it by recursion, here and in libraries, must come back from it."""

_ULID_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID_PAIRS = tuple(high + low for high in _ULID_ALPHABET for low in _ULID_ALPHABET)
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")


def instant(moment: datetime) -> Instant:
    """The aware `moment` as an instant, cut to milliseconds."""
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    return Instant(utc.isoformat(timespec="milliseconds") + "Z")


def moment(at: Instant) -> datetime:
    return datetime.fromisoformat(at)


def plus(at: Instant, seconds: float) -> Instant:
    """`at` and some seconds; stops at the years 1 and 9999 instead of overflowing."""
    try:
        return instant(moment(at) + timedelta(seconds=seconds))
    except OverflowError:
        return Instant("9999-12-31T23:59:59.999Z" if seconds > 0 else "0001-01-01T00:00:00.000Z")


def seconds_between(start: Instant, end: Instant) -> float:
    """Seconds from start to end with milliseconds; 0 where the clock went backwards."""
    return max(0.0, round((moment(end) - moment(start)).total_seconds(), 3))


def is_deep(value: Json) -> bool:
    """Is it nested more than `DEEPEST` levels deep? Without recursion."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list | tuple)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return False
    return True


def is_ulid(text: str) -> bool:
    return _ULID.fullmatch(text) is not None


@lru_cache(maxsize=1024)
def ulid_time(at: Instant) -> str:
    """With what every ULID of a time begins: ten characters."""
    milliseconds = round(moment(at).timestamp() * 1000)
    return "".join([_ULID_ALPHABET[milliseconds >> shift & 31] for shift in range(45, -1, -5)])


def derived_id(base: str, *parts: str) -> str:
    """A ULID with the time of the ULID `base`, fixed by base and parts: doing a thing twice names it once."""
    digest = hashlib.sha256("\0".join((base, *parts)).encode()).digest()
    number = int.from_bytes(digest[:10])
    return base[:10] + "".join([_ULID_PAIRS[number >> shift & 1023] for shift in range(70, -1, -10)])


def placed_id(at: Instant, position: int, base: str, *parts: str) -> str:
    """A ULID that sorts by a time, then by a position in the log; the other 60 bits are fixed by base and parts.

    Where a multiple of 2 to the power of 20 lies between two positions of one millisecond, they change places.
    """
    place = "".join([_ULID_ALPHABET[position >> shift & 31] for shift in (15, 10, 5, 0)])
    return ulid_time(at) + place + derived_id(base, *parts)[-12:]


class WorkflowStatus(StrEnum):
    DRAFT = "draft"
    ACTIVE = "active"
    INACTIVE = "inactive"
    ARCHIVED = "archived"
    DELETED = "deleted"


class ExecutionStatus(StrEnum):
    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"

    @property
    def is_ended(self) -> bool:
        return self in _ENDED


_ENDED = frozenset(
    {
        ExecutionStatus.COMPLETED,
        ExecutionStatus.FAILED,
        ExecutionStatus.CANCELLED,
        ExecutionStatus.TERMINATED,
    }
)
LIVE_STATUSES = tuple(status for status in ExecutionStatus if not status.is_ended)


class ComponentStatus(StrEnum):
    PENDING = "pending"
    ASSIGNED = "assigned"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"

    @property
    def is_settled(self) -> bool:
        return self in _SETTLED


_SETTLED = frozenset(
    {
        ComponentStatus.COMPLETED,
        ComponentStatus.FAILED,
        ComponentStatus.SKIPPED,
        ComponentStatus.CANCELLED,
    }
)


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def component_key(id: str, iteration: str) -> str:
    """Which one of a run's components: one inside of loops is there once for each iteration."""
    return f"{id}@{iteration}" if iteration else id


def split_key(key: str) -> tuple[str, str]:
    """The id and the iteration of a component's key."""
    id, _, iteration = key.partition("@")
    return id, iteration


SIGNAL_PATTERN = r"^[A-Za-z0-9_./-]+$"
"""Of the keys of signals that clients send; those with a colon are the hub's own."""

PERSON_PATTERN = r"^[^\x00-\x1f\x7f]+(?![\s\S])"
"""Of what people, workers and types of tasks are called: one line."""

PRIORITY_WORDS = {"low": 3, "medium": 5, "normal": 5, "high": 8, "critical": 10, "urgent": 10}
DEFAULT_PRIORITY = 5


class Progress(Struct, frozen=True):
    """How far an execution is. Settled components count, skipped ones too; the percentage is floored."""

    current_component: str | None
    completed_components: int
    total_components: int
    percentage: int


class RetryPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When to try again. `max_attempts` includes the first; delays are seconds."""

    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 1
    initial_delay_seconds: Annotated[float, Meta(ge=0, le=86_400)] = 5.0
    max_delay_seconds: Annotated[float, Meta(ge=0, le=604_800)] = 36_000.0
    backoff_multiplier: Annotated[float, Meta(ge=1, le=100)] = 3.0

    def delay(self, failures: int, jitter: float = 0.0) -> float:
        """Seconds to wait after the `failures`-th failure (from 1), with `jitter` in -1 to 1 of a fifth of it."""
        exponent = min(failures - 1, 64)
        try:
            grown = self.initial_delay_seconds * self.backoff_multiplier**exponent
        except OverflowError:
            grown = math.inf
        return round(min(grown, self.max_delay_seconds) * (1 + 0.2 * jitter), 3)
