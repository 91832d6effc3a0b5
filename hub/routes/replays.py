"""Replays: any span of the log again, to a webhook or a channel, as a job."""

from __future__ import annotations

from typing import Any, Literal

from executor.ports import ReplayQuery
from hub.envelope import Answer, Page
from hub.operation import Call, NoBody, Resource
from hub.queries import NoQuery, Paging, decode_cursor, encode_cursor
from hub.replays import StartReplay
from webhooks.commands import Caller

RESOURCE = Resource("events")


class ListReplays(Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    status: Literal["pending", "running", "completed", "cancelled", "failed"] | None = None


@RESOURCE.route("POST", "/events/replay", needs="event.replay", body=StartReplay, status=202)
async def start(call: Call[StartReplay, NoQuery]) -> Answer:
    """Replay a span of the log to a webhook or a channel."""
    commands = call.hub.replays
    replay = await commands.start(_caller(call), call.body, call.hub.clock.new_id(), call.now)
    return Answer(await commands.view(replay), "The replay is on its way")


@RESOURCE.route("GET", "/events/replay", needs="event.read", query=ListReplays)
async def list_(call: Call[NoBody, ListReplays]) -> Answer:
    """List replays, newest first."""
    query, ledger = call.query, call.hub.store.ledgers.replays
    wanted = ReplayQuery(
        organization_id=call.organization_id,
        status=query.status,
        before_id=decode_cursor(query.cursor, str)[0] if query.cursor is not None else None,
        limit=query.limit + 1,
        offset=query.offset,
    )
    found = await ledger.find(wanted)
    has_more, shown = len(found) > query.limit, found[: query.limit]
    page = Page(
        total_count=await ledger.count(wanted),
        limit=query.limit,
        offset=query.offset,
        has_more=has_more,
        next_cursor=encode_cursor([shown[-1].id]) if has_more else None,
    )
    return Answer([await call.hub.replays.view(replay) for replay in shown], page=page)


@RESOURCE.route("GET", "/events/replay/{id}", needs="event.read")
async def get(call: Call[NoBody, NoQuery]) -> Answer:
    """Get a replay with its progress."""
    commands = call.hub.replays
    return Answer(await commands.view(await commands.get(_caller(call), call.path["id"])))


@RESOURCE.route("POST", "/events/replay/{id}/cancel", needs="event.replay")
async def cancel(call: Call[NoBody, NoQuery]) -> Answer:
    """Cancel a replay: nothing more is written, and what waits of it is not sent."""
    commands = call.hub.replays
    replay = await commands.cancel(_caller(call), call.path["id"], call.now)
    return Answer(await commands.view(replay), "Replay cancelled")


def _caller(call: Call[Any, Any]) -> Caller:
    return Caller(call.organization_id, call.metadata)
