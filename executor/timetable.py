"""When a schedule runs: cron expressions in a time zone, and intervals. The only module that knows cron and zones.

Daylight saving is as Debian's cron has it: a time of day that a clock change leaps over runs right after the leap,
one that comes twice runs at the first; where hour or minute begin with `*`, the clock on the wall alone counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Final, Protocol
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from executor.domain.events.schedule import CatchUp
from executor.domain.schedule import Next, Turn
from executor.domain.values import Instant, instant, moment, plus

ON_TIME_SECONDS: Final = 10.0
"""What is late by less than this was not missed."""

_ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS: Final = 5
_LOOK_BACK: Final = tuple(timedelta(hours=hours) for hours in (1, 24, 24 * 31, 24 * 366, 24 * 366 * 8))
_LAST_YEAR: Final = 9000


class Timing(Protocol):
    """What a schedule says of its times."""

    @property
    def id(self) -> str: ...
    @property
    def cron(self) -> str | None: ...
    @property
    def interval_seconds(self) -> int | None: ...
    @property
    def anchor(self) -> Instant: ...
    @property
    def timezone(self) -> str: ...
    @property
    def start_at(self) -> Instant | None: ...
    @property
    def end_at(self) -> Instant | None: ...
    @property
    def jitter_seconds(self) -> int: ...


def cron_problem(expression: str, at: Instant) -> str | None:
    """What is wrong with a cron expression; null for one that comes after a time."""
    is_alias = expression.strip().startswith("@")
    if is_alias and expression.strip().lower() not in _ALIASES:
        return f"there is no '{expression}'; there are {', '.join(_ALIASES)}"
    if not is_alias and len(expression.split()) != _FIELDS:
        return f"a cron expression has {_FIELDS} fields: minute, hour, day of month, month, day of week"
    try:
        found = _next_cron(expression, "UTC", at)
    except (CronSimError, ValueError, AssertionError) as error:
        said = str(error).removeprefix("Bad ") or "text"
        return f"its {said} is wrong; write it as in '30 2 * * MON-FRI'"
    return "no date ever matches it" if found is None else None


def is_timezone(name: str) -> bool:
    return name in _zones()


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    """Without what means another zone on each machine."""
    return frozenset(available_timezones()) - {"localtime", "Factory"}


@lru_cache(maxsize=1000)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def next_time(of: Timing, after: Instant) -> Instant | None:
    """The first time of a schedule after one (exclusive); null where none is left."""
    if of.start_at is not None and of.start_at > after:
        after = plus(of.start_at, -0.001)
    if of.interval_seconds is not None:
        found = _next_interval(of.anchor, of.interval_seconds, after, of.start_at is not None)
    else:
        found = _next_cron(of.cron or "", of.timezone, after)
    return None if found is None or (of.end_at is not None and found >= of.end_at) else found


def coming(of: Timing, after: Instant) -> Next:
    """The next time, and when it runs."""
    at = next_time(of, after)
    return Next(at, None if at is None else run_at(of, at))


def times(of: Timing, after: Instant) -> Iterator[Instant]:
    """Every time after one, in order."""
    at = next_time(of, after)
    while at is not None:
        yield at
        at = next_time(of, at)


def preview(of: Timing, after: Instant, count: int) -> list[Instant]:
    """When the next ones run."""
    return [run_at(of, at) for at in islice(times(of, after), count)]


def run_at(of: Timing, at: Instant) -> Instant:
    """When a time runs: as much later as chance says, but the same whenever it is asked."""
    if not of.jitter_seconds:
        return at
    digest = hashlib.sha256(f"{of.id}\0{at}".encode()).digest()
    return plus(at, int.from_bytes(digest[:6]) % (of.jitter_seconds * 1000) / 1000)


def turn(of: Timing, at: Instant, now: Instant, catch_up: str, window_seconds: float) -> Turn:
    """What a schedule has to do whose next time, `at`, has come: which time runs, which were missed, what is next.

    A time that is late by some seconds runs. Of those that are later, `all` runs the earliest that is not too late,
    and the others after it; `latest` and `none` only the last that has come, unless that is too late as well.
    """
    oldest = plus(now, -ON_TIME_SECONDS if catch_up == CatchUp.NONE else -max(window_seconds, ON_TIME_SECONDS))
    if run_at(of, at) >= plus(now, -ON_TIME_SECONDS):
        chosen, oldest = at, at
    elif catch_up == CatchUp.ALL:
        chosen = at if run_at(of, at) >= oldest else _latest(of, at, plus(oldest, -of.jitter_seconds - 0.001))
    else:
        chosen = _latest(of, at, plus(now, -of.jitter_seconds))
    following = coming(of, chosen)
    if run_at(of, chosen) < oldest:
        return Turn(runs=None, missed=at, until=following.time, next=following)
    return Turn(runs=chosen, missed=at if chosen > at else None, until=chosen, next=following)


def _latest(of: Timing, at: Instant, until: Instant) -> Instant:
    """The last time of a schedule up to `until` (inclusive), where `at` is one of its times: at least that.

    It looks back further and further, so that after years of an expression that comes each minute it need not walk
    through all of them.
    """
    looks = _LOOK_BACK if of.interval_seconds is None else (timedelta(seconds=of.interval_seconds),)
    for back in looks:
        start = max(plus(until, -back.total_seconds()), at)
        last = None
        for found in times(of, start):
            if found > until:
                break
            last = found
        if last is not None or start == at:
            return last or at
    return at


def _next_interval(anchor: Instant, seconds: int, after: Instant, with_anchor: bool) -> Instant | None:
    if after < anchor:
        return anchor if with_anchor else plus(anchor, seconds)
    passed = (moment(after) - moment(anchor)) // timedelta(seconds=seconds)
    found = plus(anchor, (passed + 1) * seconds)
    return found if found > after else None


def _next_cron(expression: str, timezone: str, after: Instant) -> Instant | None:
    """Strictly after: where a clock change makes two times one, it comes once; where the clock is put back, what was
    before the change is not found again."""
    start = moment(after)
    if start.year > _LAST_YEAR:
        return None
    zone = UTC if timezone == "UTC" else _zone(timezone)
    text = _ALIASES.get(expression.strip().lower(), expression)
    for found in CronSim(text, start.astimezone(zone)):
        at = found.astimezone(UTC)
        if at > start:
            return instant(datetime.fromtimestamp(at.timestamp(), UTC))
    return None
