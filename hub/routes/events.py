"""The log itself: a list of events, a stream of them, and one event."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from executor.domain.errors import Code, Invalid, NotFound, Problem
from executor.domain.values import Instant, is_ulid
from executor.domain.workflow import WorkflowRow
from executor.ports import EventQuery, Recorded
from hub.channels import ANY, Key, Wish
from hub.envelope import Answer, Page
from hub.lookups import is_lost, kept_execution, workflow_row
from hub.messages import Channel, event_json
from hub.operation import ANYBODY, Call, NoBody, Resource
from hub.patterns import wanted_types
from hub.queries import NoQuery, decode_cursor, encode_cursor
from hub.routes.streamed import channels_of, condition_of, require
from hub.socket.limits import MAX_CHANNELS
from hub.sse import EventStream

RESOURCE = Resource("events")
LAST_EVENT_ID = "Last-Event-ID"
Position = Annotated[int, Meta(ge=0, le=2**62)]


class StreamEvents(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`channel` names channels, whose messages come; without it whole events do. `since` is a position, exclusive; 0
    is the beginning, none the head, or a replay's beginning. `filter` is CEL. `token` is for browsers, whose
    EventSource cannot send a header."""

    channel: Annotated[tuple[str, ...], Meta(max_length=MAX_CHANNELS)] = ()
    since: Position | None = None
    types: tuple[str, ...] = ()
    filter: str | None = None
    mode: Literal["all", "latest"] = "all"
    workflow_id: str | None = None
    execution_id: str | None = None
    replay_id: str | None = None
    token: str | None = None

    def __repr__(self) -> str:
        return "StreamEvents(…)"


class ListEvents(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`after` and `before` are positions, both exclusive; `types` are patterns such as `execution.*`."""

    after: Position | None = None
    before: Position | None = None
    types: tuple[str, ...] = ()
    workflow_id: str | None = None
    execution_id: str | None = None
    start_time: Instant | None = None
    end_time: Instant | None = None
    order: Literal["asc", "desc"] = "asc"
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    offset: Annotated[int, Meta(ge=0, le=100_000)] = 0
    cursor: Annotated[str, Meta(max_length=1024)] | None = None


@RESOURCE.route("GET", "/events", needs="event.read", query=ListEvents)
async def list_(call: Call[NoBody, ListEvents]) -> Answer:
    """List events, in the order of their positions."""
    query, is_descending = call.query, call.query.order == "desc"
    types = wanted_types(query.types)
    after, before = query.after or 0, query.before
    if query.cursor is not None:
        (position,) = decode_cursor(query.cursor, int)
        after, before = (after, position) if is_descending else (position, before)
    found = await _read(
        call,
        EventQuery(
            after=after,
            before=before,
            types=types,
            organization_id=call.organization_id,
            workflow_id=query.workflow_id,
            execution_id=query.execution_id,
            start_time=query.start_time,
            end_time=query.end_time,
            descending=is_descending,
            limit=query.limit + 1,
            offset=query.offset,
        ),
    )
    has_more, shown = len(found) > query.limit, found[: query.limit]
    page = Page(
        total_count=None,
        limit=query.limit,
        offset=query.offset,
        has_more=has_more,
        next_cursor=encode_cursor([shown[-1].position]) if has_more else None,
    )
    return Answer([msgspec.Raw(event_json(recorded)) for recorded in shown], page=page)


async def _read(call: Call[NoBody, ListEvents], query: EventQuery) -> list[Recorded]:
    """A workflow that is another organization's has no events here: its row says so without passing all of them."""
    if query.workflow_id is not None:
        row = await call.hub.store.reads.get(WorkflowRow, query.workflow_id)
        if row is not None and row.organization_id != call.organization_id:
            return []
    return await call.hub.store.log.read(query)


@RESOURCE.route("GET", "/events/stream", needs=ANYBODY, query=StreamEvents)
async def stream(call: Call[NoBody, StreamEvents]) -> EventStream:
    """Follow events, or channels, as server-sent events, from a position on. Needs the permission of each channel."""
    query = call.query
    keys, wish = await channels_of(call) if query.channel else ((await _channel(call),), _wish(query))
    head = await call.hub.store.log.refresh()
    begins = await _beginning(call, keys[0]) if keys[0].channel is Channel.REPLAY else head
    after, field = _last_event_id(call.headers.get("last-event-id")), LAST_EVENT_ID
    if after is None:
        after, field = query.since, "since"
    if after is not None and after > head:
        raise Invalid(
            [Problem(Code.INVALID_POSITION, f"position {after} is beyond the head of the log, {head}", field)]
        )
    since = begins if after is None else after
    lost = False
    for key in keys:
        is_kept = key.channel is Channel.REPLAY
        lost = lost or (not is_kept and await is_lost(call.hub.store.ledgers.retention)(key, since))
    carrier = keys[0] if wish.union is None else wish.union.carrier
    return call.hub.streams.response(call.principal, carrier, since, wish, is_lost=lost)


def _wish(query: StreamEvents) -> Wish:
    """Of whole events. Raises `Invalid`."""
    types = frozenset(wanted_types(query.types)) or None
    return Wish(types, condition_of(query.filter), query.mode == "latest")


def _last_event_id(text: str | None) -> int | None:
    """Where a client that comes back has come to. Raises `Invalid` for what is no position."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        said = f"{LAST_EVENT_ID} is the position of an event, such as 1742"
        raise Invalid([Problem(Code.VALIDATION_ERROR, said, LAST_EVENT_ID)])
    return int(text)


async def _channel(call: Call[NoBody, StreamEvents]) -> Key:
    """Raises `Forbidden`, and `NotFound` for what is not the organization's: nothing would ever
    come."""
    require(call.principal, Channel.EVENTS)
    query, reads = call.query, call.hub.store.reads
    if query.replay_id is not None:
        return Key(call.organization_id, Channel.REPLAY, query.replay_id)
    if query.execution_id is not None:
        row = await kept_execution(call.hub.store, query.execution_id, call.organization_id)
        if query.workflow_id not in (None, row.workflow_id):
            raise NotFound("execution", row.id, f"in workflow '{query.workflow_id}'")
        return Key(call.organization_id, Channel.EXECUTION, row.id)
    if query.workflow_id is not None:
        found = await workflow_row(reads, query.workflow_id, call.organization_id)
        return Key(call.organization_id, Channel.WORKFLOW, found.id)
    return Key(call.organization_id, Channel.EVENTS, ANY)


async def _beginning(call: Call[NoBody, StreamEvents], key: Key) -> int:
    """Raises `NotFound` for a replay that has no channel here, `Invalid` beside other filters."""
    others = [name for name in ("workflow_id", "execution_id") if getattr(call.query, name) is not None]
    if others:
        said = "a replay has its own filters; leave this out beside 'replay_id'"
        raise Invalid([Problem(Code.VALIDATION_ERROR, said, name) for name in others])
    begins = await call.hub.streams.replays.begins(key) if is_ulid(key.id) else None
    if begins is None:
        raise NotFound("replay", key.id)
    return begins


@RESOURCE.route("GET", "/events/{position}", needs="event.read")
async def get(call: Call[NoBody, NoQuery]) -> Answer:
    """Get the event at a position."""
    text = call.path["position"]
    is_position = text.isascii() and text.isdigit() and len(text) < 19
    recorded = await call.hub.store.log.at(int(text)) if is_position else None
    if recorded is None or recorded.organization_id != call.organization_id:
        raise NotFound("event", text)
    return Answer(msgspec.Raw(event_json(recorded)))
