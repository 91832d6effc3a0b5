"""Times as clients write them: RFC 3339 in a body, a date too in a query or on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta

from executor.domain.errors import Code, Invalid, Problem
from executor.domain.values import Instant, instant

TimeValue = Annotated[datetime, Meta(tz=True)]
_PLUS_LOST = re.compile(r"(T[\d:.]+) (\d\d:?\d\d)$")
_OUT_OF_RANGE = "is out of range"


def time_of(value: datetime | None, field: str) -> Instant | None:
    """A body's time. Raises `Invalid` for one that is before the year 1 or after 9999 in UTC."""
    try:
        return None if value is None else instant(value)
    except OverflowError:
        raise Invalid([Problem(Code.VALIDATION_ERROR, f"{field}: {_OUT_OF_RANGE}", field)]) from None


def parse_time(text: str) -> Instant:
    """A time in RFC 3339, or a date; without a zone it is UTC. Raises `ValueError` with a message that says why."""
    try:
        parsed = datetime.fromisoformat(_PLUS_LOST.sub(r"\1+\2", text.strip()))
    except ValueError:
        raise ValueError("is not a time; write it as 2026-01-31T12:00:00Z") from None
    try:
        return instant(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))
    except OverflowError:
        raise ValueError(_OUT_OF_RANGE) from None
