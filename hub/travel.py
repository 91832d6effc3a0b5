"""Back in time: what a workflow or an execution was at a position of the log, or at a time.

The state is folded from the log through that position, and shown by the very code that makes the rows of now: so the
answer is the one that the route gave then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from executor.domain import workflow
from executor.domain.errors import Code, Invalid, NotFound, Problem
from executor.domain.execution import rows as execution
from executor.domain.execution.rows import ComponentRow, ExecutionRow
from executor.domain.values import Instant, WorkflowStatus, is_ulid
from executor.domain.workflow import WorkflowRow
from executor.ports import Aggregate, EventLog, Row, Store
from hub.diff import Change, changes
from hub.lookups import refuse_archived
from hub.times import parse_time

At = Annotated[str, Meta(max_length=64)]
"""A position, or a time: what `moment_of` reads."""

_MOST_DIGITS: Final = 18
_WANTED: Final = "is neither a position, such as 1742, nor a time, such as 2026-01-31T12:00:00Z"


class Span(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """The parameters of a diff. `from` and `to` are positions or times; without `to` it is now."""

    from_: At | None = None
    to: At | None = None


class Difference(Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    from_: Moment
    to: Moment
    changes: list[Change]


class Moment(Struct, frozen=True):
    """A place in the log, and the time that it stands for: of its event, or the very one that was asked for."""

    position: int
    time: Instant


async def moment_of(log: EventLog, text: str, field: str, now: Instant) -> Moment:
    """What a client says by `at`: a position or a time. Raises `Invalid` for what is neither, or has not come yet."""
    if text.isascii() and text.isdigit():
        return await _of_position(log, text, field)
    try:
        time = parse_time(text)
    except ValueError:
        raise _wrong(field, _WANTED) from None
    if time > now:
        raise _wrong(field, f"{time} has not come yet; it is {now}")
    await log.refresh()
    return Moment(await log.position_at(time), time)


async def _of_position(log: EventLog, text: str, field: str) -> Moment:
    position = int(text) if len(text) <= _MOST_DIGITS else None
    if position is None or (position > log.head and position > await log.refresh()):
        raise _wrong(field, f"position {text} is beyond the head of the log, {log.head}", head=log.head)
    recorded = await log.at(position)
    return Moment(position, recorded.time if recorded is not None else Instant(""))


async def moments_of(log: EventLog, span: Span, now: Instant) -> tuple[Moment, Moment]:
    """From when to when. Raises `Invalid` with what is wrong with either, or with their order."""
    if span.from_ is None:
        raise _wrong("from", "is missing; say a position, such as 1742, or a time, such as 2026-01-31T12:00:00Z")
    found: list[Moment] = []
    problems: list[Problem] = []
    for field, text in (("from", span.from_), ("to", span.to or str(now))):
        try:
            found.append(await moment_of(log, text, field, now))
        except Invalid as invalid:
            problems += invalid.problems
    if problems:
        raise Invalid(problems)
    start, end = found
    if start.position > end.position:
        raise _wrong("from", f"position {start.position} is after that of 'to', {end.position}")
    return start, end


async def difference(
    log: EventLog, span: Span, now: Instant, whole: Callable[[Moment], Awaitable[Any]]
) -> Difference:
    """What changed in what `whole` answers, JSON as of a moment. Raises `Invalid`, and what `whole` raises."""
    start, end = await moments_of(log, span, now)
    found = list(changes(await whole(start), await whole(end)))
    return Difference(from_=start, to=end, changes=found)


async def workflow_at(log: EventLog, id: str, organization_id: str, moment: Moment) -> WorkflowRow:
    """Its row as of then. Raises `NotFound` where it was not there yet, or not any more."""
    for row in await _rows_at(log, workflow.AGGREGATE, id, moment):
        if isinstance(row, WorkflowRow) and row.organization_id == organization_id:
            if row.status == WorkflowStatus.DELETED:
                break
            return row
    raise _not_there("workflow", id, moment)


async def execution_at(
    store: Store, id: str, organization_id: str, moment: Moment
) -> tuple[ExecutionRow, list[ComponentRow]]:
    """Its row as of then and those of its components, as lists show them. Raises `NotFound` where it was not there
    yet, and `Archived`."""
    await refuse_archived(store.ledgers.retention, id, organization_id)
    rows = await _rows_at(store.log, execution.AGGREGATE, id, moment)
    for row in rows:
        if isinstance(row, ExecutionRow) and row.organization_id == organization_id:
            its = [component for component in rows if isinstance(component, ComponentRow)]
            return row, sorted(its, key=lambda each: (each.sequence, each.component_id, each.iteration))
    raise _not_there("execution", id, moment)


async def _rows_at(log: EventLog, aggregate: Aggregate[Any], id: str, moment: Moment) -> Sequence[Row]:
    if not is_ulid(id):
        return ()
    state, version = await log.load(f"{aggregate.prefix}:{id}", through=moment.position)
    return aggregate.rows(aggregate.initial(), state) if version else ()


def _not_there(what: str, id: str, moment: Moment) -> NotFound:
    return NotFound(what, id, f"at position {moment.position}")


def _wrong(field: str, message: str, **details: int) -> Invalid:
    return Invalid([Problem(Code.VALIDATION_ERROR, f"{field}: {message}", field, details or None)])
