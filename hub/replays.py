"""Replays as clients ask for them: from positions or times, filters and a target to a job, and what it came to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import replace

from executor.domain.errors import Archived, Code, Invalid, NotFound, Problem, Refusal, ResourceConflict
from executor.domain.events.webhook import WebhookCreated
from executor.domain.values import Instant, is_ulid, plus
from executor.ports import Replay, ReplayQuery, Store
from hub.lookups import kept_execution, workflow_row
from hub.patterns import wanted_types
from hub.times import parse_time
from webhooks.commands import Caller, stored
from webhooks.endpoint import stream

MOST_OPEN = 20
"""Replays of an organization that have not ended."""

Since = (
    Annotated[int, Meta(ge=0, le=2**62)]
    | Annotated[str, Meta(max_length=64, description="a position, or a time such as 2026-01-31T12:00:00Z")]
)
Moment = Since | None


class ReplayTarget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A webhook, which gets a delivery for each event, or a channel of the WebSocket."""

    type: Literal["webhook", "channel"] | None = None
    webhook_id: str | None = None


class StartReplay(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Both ends are inclusive: positions, or times. Without `from` it begins with the log, without `to` it ends at
    the head of this moment. Without `types` a webhook gets what its own `events` say; its filters hold always."""

    target: Annotated[
        ReplayTarget | Literal["channel"],
        Meta(description="""is "channel", or {"type": "webhook", "webhook_id": …}"""),
    ]
    from_: Moment = None
    to: Moment = None
    types: Annotated[tuple[str, ...], Meta(max_length=100)] = ()
    workflow_id: str | None = None
    execution_id: str | None = None


class Recover(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Both ends are inclusive: positions, or times. `failed` is what was given up, `undelivered` every event that the
    webhook wants now and that has not arrived."""

    since: Since
    until: Moment = None
    what: Literal["failed", "undelivered"] = "failed"


class TargetView(Struct, frozen=True):
    type: str
    webhook_id: str | UnsetType = UNSET


class ReplayProgress(Struct, frozen=True):
    """`processed` counts the events that were counted for a channel, or whose delivery has ended; `total` is null
    until it is known, which is at the end. `percentage` is of the span's positions."""

    processed: int
    total: int | None
    position: int
    percentage: int


class ReplayView(Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """`channel` is where subscribers get it, null where it goes to a webhook. `what` a recovery makes due again."""

    id: str
    kind: Literal["replay", "recovery"]
    what: str | None
    status: str
    target: TargetView
    channel: str | None
    from_: int
    to: int
    types: tuple[str, ...]
    workflow_id: str | None
    execution_id: str | None
    progress: ReplayProgress
    error: str | None
    created_by: str
    created_at: Instant
    completed_at: Instant | None


def view(replay: Replay, waiting: int = 0) -> ReplayView:
    """`waiting` of its deliveries have not ended."""
    webhook_id, is_completed = replay.webhook_id, replay.status == "completed"
    span = replay.last - replay.first + 1
    percentage = (replay.position - replay.first + 1) * 100 // span if span > 0 else 0
    return ReplayView(
        id=replay.id,
        kind="replay" if replay.kind == "replay" else "recovery",
        what=None if replay.kind == "replay" else replay.kind,
        status=replay.status,
        target=TargetView("channel") if webhook_id is None else TargetView("webhook", webhook_id),
        channel=channel_of(replay.id) if webhook_id is None else None,
        from_=replay.first,
        to=replay.last,
        types=replay.types,
        workflow_id=replay.workflow_id,
        execution_id=replay.execution_id,
        progress=ReplayProgress(
            processed=replay.processed - waiting,
            total=replay.processed if is_completed else None,
            position=replay.position,
            percentage=100 if is_completed else min(percentage, 99),
        ),
        error=replay.error,
        created_by=replay.created_by,
        created_at=replay.created_at,
        completed_at=replay.completed_at,
    )


def channel_of(id: str) -> str:
    return f"replay:{id}"


class ReplayCommands:
    """What clients do with replays. What is another organization's is not there."""

    def __init__(self, store: Store) -> None:
        self._store, self._ledger = store, store.ledgers.replays

    async def start(self, caller: Caller, request: StartReplay, id: str, now: Instant) -> Replay:
        """A job, durable by now; who delivers takes it on. Raises `Invalid` with all problems at once,
        `ResourceConflict` for a webhook that is switched off, and a refusal where too many are under way."""
        head = await self._store.log.refresh()
        target, problems = _target(request)
        span = await self._span(("from", request.from_), ("to", request.to), head, problems)
        try:
            wanted_types(request.types)
        except Invalid as invalid:
            problems += invalid.problems
        if problems:
            raise Invalid(problems)
        own_types = await self._check(caller, request, target)
        replay = Replay(
            id=id,
            organization_id=caller.organization_id,
            webhook_id=target.webhook_id,
            first=span[0],
            last=span[1],
            types=request.types or own_types,
            workflow_id=request.workflow_id,
            execution_id=request.execution_id,
            position=span[0] - 1,
            created_by=caller.metadata.actor.rpartition(":")[2],
            created_at=now,
        )
        return await self._begun(replay)

    async def recover(self, caller: Caller, webhook_id: str, request: Recover, id: str, now: Instant) -> Replay:
        """As `start`: never what happened before the webhook was created."""
        state = await stored(self._store.log, webhook_id, caller.organization_id)
        if not state.is_active or state.endpoint is None:
            raise ResourceConflict("the webhook is not active; enable it first", "active")
        head = await self._store.log.refresh()
        problems: list[Problem] = []
        first, last = await self._span(("since", request.since), ("until", request.until), head, problems)
        if problems:
            raise Invalid(problems)
        facts = await self._store.log.stream(stream(webhook_id))
        first = max(first, *(fact.position + 1 for fact in facts if fact.type == WebhookCreated.type))
        last = max(min(last, head), first - 1)
        replay = Replay(
            id=id,
            organization_id=caller.organization_id,
            webhook_id=webhook_id,
            first=first,
            last=last,
            types=tuple(state.endpoint.events),
            kind=request.what,
            position=first - 1,
            created_by=caller.metadata.actor.rpartition(":")[2],
            created_at=now,
        )
        return await self._begun(replay)

    async def _begun(self, replay: Replay) -> Replay:
        async with self._store.exclusively(f"replays of {replay.organization_id}"):
            await self._require_room(replay.organization_id)
            await self._ledger.add(replay)
        return replay

    async def get(self, caller: Caller, id: str) -> Replay:
        found = await self._ledger.get(id) if is_ulid(id) else None
        if found is None or found.organization_id != caller.organization_id:
            raise NotFound("replay", id)
        return found

    async def view(self, replay: Replay) -> ReplayView:
        is_open = replay.webhook_id is not None and not replay.is_ended
        return view(replay, await self._ledger.waiting(replay.id) if is_open else 0)

    async def cancel(self, caller: Caller, id: str, now: Instant) -> Replay:
        """From here on nothing more is written, and what waits is cancelled."""
        replay = await self.get(caller, id)
        if not await self._ledger.end(id, "cancelled", now):
            ended = await self.get(caller, id)
            raise ResourceConflict(f"the replay is {ended.status} already", "status", status=ended.status)
        return await self._ledger.get(id) or replay

    async def _check(self, caller: Caller, request: StartReplay, target: ReplayTarget) -> tuple[str, ...]:
        """That all it names is there; answers the patterns of the webhook that it goes to."""
        store, organization_id = self._store, caller.organization_id
        if request.workflow_id is not None:
            with _naming("workflow_id"):
                await workflow_row(store.reads, request.workflow_id, organization_id)
        if request.execution_id is not None:
            with _naming("execution_id"):
                row = await kept_execution(store, request.execution_id, organization_id)
                if request.workflow_id not in (None, row.workflow_id):
                    raise NotFound("execution", row.id, f"in workflow '{request.workflow_id}'")
        patterns: tuple[str, ...] = ()
        if target.webhook_id is not None:
            with _naming("target.webhook_id"):
                state = await stored(store.log, target.webhook_id, organization_id)
            if not state.is_active or state.endpoint is None:
                raise ResourceConflict("the webhook is not active; enable it first", "target.webhook_id")
            patterns = tuple(state.endpoint.events)
        return patterns

    async def _require_room(self, organization_id: str) -> None:
        counts = [
            await self._ledger.count(ReplayQuery(organization_id=organization_id, status=status))
            for status in ("pending", "running")
        ]
        if sum(counts) >= MOST_OPEN:
            raise ResourceConflict(f"{MOST_OPEN} replays are under way, and no more may be; cancel one, or wait")

    async def _span(
        self, begin: tuple[str, Any], end: tuple[str, Any], head: int, problems: list[Problem]
    ) -> tuple[int, int]:
        first = await self._position(begin[1], begin[0], problems)
        last = await self._position(end[1], end[0], problems)
        first, last = 1 if first is None else max(first, 1), head if last is None else last
        if problems:
            return first, last
        for (field, given), position in ((begin, first), (end, last)):
            if _is_position(given) and position > max(head, 1):
                said = f"position {position} is beyond the head of the log, {head}"
                problems.append(Problem(Code.INVALID_POSITION, said, field))
        if not problems and first > last and _is_position(begin[1]) and _is_position(end[1]):
            said = f"position {last} is before '{begin[0]}', {first}"
            problems.append(Problem(Code.VALIDATION_ERROR, said, end[0]))
        return first, max(last, first - 1)

    async def _position(self, given: Any, field: str, problems: list[Problem]) -> int | None:
        """Of a time the first position from then on, or the last one until then: both ends are inclusive."""
        if given is None or isinstance(given, int):
            return given
        if _is_position(given):
            return int(given)
        try:
            time = parse_time(given)
        except ValueError as error:
            problems.append(Problem(Code.VALIDATION_ERROR, f"{field}: {error}, or as a position", field))
            return None
        if field in ("to", "until"):
            return await self._store.log.position_at(time)
        before = plus(time, -0.001)
        return await self._store.log.position_at(before) + 1 if before < time else 1


@contextlib.contextmanager
def _naming(field: str) -> Iterator[None]:
    """What is not there is said of a field of the request."""
    try:
        yield
    except (Archived, NotFound) as missing:
        raise Refusal([replace(problem, field=field) for problem in missing.problems]) from None


def _is_position(given: Any) -> bool:
    return isinstance(given, int) or (
        isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 19
    )


def _target(request: StartReplay) -> tuple[ReplayTarget, list[Problem]]:
    """The target in its long form."""
    given = request.target
    if not isinstance(given, ReplayTarget):
        return ReplayTarget(type="channel"), []
    kind = given.type or ("webhook" if given.webhook_id is not None else None)
    problems = []
    if kind is None:
        said = 'say which: {"type": "channel"}, or {"type": "webhook", "webhook_id": …}'
        problems.append(Problem(Code.VALIDATION_ERROR, said, "target"))
    elif kind == "webhook" and given.webhook_id is None:
        problems.append(Problem(Code.VALIDATION_ERROR, "'webhook_id' is required", "target.webhook_id"))
    elif kind == "channel" and given.webhook_id is not None:
        said = 'a channel has no webhook_id; leave it out, or say "type": "webhook"'
        problems.append(Problem(Code.VALIDATION_ERROR, said, "target.webhook_id"))
    return ReplayTarget(type=kind, webhook_id=given.webhook_id), problems
