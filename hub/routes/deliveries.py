"""Deliveries: what was sent to webhooks with every attempt, how they do, and what waits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from executor.domain.values import Instant
from executor.ports import DeliveryQuery
from hub.envelope import Answer, Page
from hub.operation import Call, NoBody, Resource
from hub.queries import NoQuery, Paging, decode_cursor, encode_cursor
from hub.replays import Recover
from hub.times import TimeValue, time_of
from webhooks.commands import Caller
from webhooks.redelivery import Waiting, types_delivered
from webhooks.stats import MOST_COUNTED, Period, since_hour, stats
from webhooks.view import delivery_view

RESOURCE = Resource("webhooks")

Status = Literal["pending", "in_flight", "retrying", "succeeded", "exhausted", "cancelled"]
WaitingStatus = Literal["pending", "retrying"]


class ListDeliveries(Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`event` takes patterns. `start_time` is inclusive, `end_time` exclusive, both of the delivery's creation."""

    status: tuple[Status, ...] = ()
    event: tuple[str, ...] = ()
    event_id: str | None = None
    start_time: Instant | None = None
    end_time: Instant | None = None


class ListAllDeliveries(ListDeliveries, frozen=True, kw_only=True, forbid_unknown_fields=True):
    webhook_id: str | None = None


class CancelWaiting(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left out restricts nothing. `events` are patterns; the times are of the deliveries' creation."""

    status: Annotated[
        WaitingStatus | tuple[WaitingStatus, ...],
        Meta(description="must be pending or retrying, or a list of these: what waits"),
    ] = ()
    events: tuple[str, ...] = ()
    start_time: TimeValue | None = None
    end_time: TimeValue | None = None


class Cancelled(Struct, frozen=True, kw_only=True):
    cancelled: int


class StatsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    period: Period = "24h"


@RESOURCE.route("GET", "/webhooks/{id}/deliveries", needs="webhook.read", query=ListDeliveries)
async def list_of_webhook(call: Call[NoBody, ListDeliveries]) -> Answer:
    """List the deliveries of a webhook with their attempts, newest first."""
    webhook = await call.hub.webhooks.get(_caller(call), call.path["id"])
    return await _listed(call, webhook.id)


@RESOURCE.route("GET", "/deliveries", needs="webhook.read", query=ListAllDeliveries)
async def list_(call: Call[NoBody, ListAllDeliveries]) -> Answer:
    """List the deliveries of all webhooks with their attempts, newest first."""
    return await _listed(call, call.query.webhook_id)


@RESOURCE.route("GET", "/deliveries/{id}", needs="webhook.read")
async def get(call: Call[NoBody, NoQuery]) -> Answer:
    """Get a delivery with its attempts."""
    return Answer(delivery_view(*await call.hub.redeliveries.get(_caller(call), call.path["id"])))


@RESOURCE.route("POST", "/deliveries/{id}/resend", needs="webhook.write", status=202)
async def resend(call: Call[NoBody, NoQuery]) -> Answer:
    """Send a delivery again, with all attempts of its policy."""
    again = await call.hub.redeliveries.resend(_caller(call), call.path["id"])
    attempts = await call.hub.store.ledgers.deliveries.attempts([again.id])
    return Answer(delivery_view(again, attempts.get(again.id, [])), "The delivery is on its way again")


@RESOURCE.route("POST", "/webhooks/{id}/cancel", needs="webhook.write", body=CancelWaiting)
async def cancel(call: Call[CancelWaiting, NoQuery]) -> Answer:
    """Cancel what waits to be sent to a webhook."""
    body = call.body
    wanted = Waiting(
        statuses=(body.status,) if isinstance(body.status, str) else body.status,
        events=body.events,
        start_time=time_of(body.start_time, "start_time"),
        end_time=time_of(body.end_time, "end_time"),
    )
    cancelled = await call.hub.redeliveries.cancel(_caller(call), call.path["id"], wanted)
    return Answer(Cancelled(cancelled=cancelled), "Cancelled; what is being sent goes on")


@RESOURCE.route("POST", "/webhooks/{id}/recover", needs="webhook.write", body=Recover, status=202)
async def recover(call: Call[Recover, NoQuery]) -> Answer:
    """Send again what a webhook did not get, as a job."""
    commands, id = call.hub.replays, call.hub.clock.new_id()
    job = await commands.recover(_caller(call), call.path["id"], call.body, id, call.now)
    return Answer(await commands.view(job), "The recovery is on its way")


@RESOURCE.route("GET", "/webhooks/{id}/stats", needs="webhook.read", query=StatsQuery)
async def stats_(call: Call[NoBody, StatsQuery]) -> Answer:
    """How a webhook does: rates, latencies, what waits."""
    ledgers, period = call.hub.store.ledgers, call.query.period
    webhook = await call.hub.webhooks.get(_caller(call), call.path["id"])
    hour = since_hour(period, call.now)
    counts = await ledgers.redelivery.counts(webhook.id, hour)
    backlog = await ledgers.redelivery.backlog(webhook.id, MOST_COUNTED + 1)
    return Answer(stats(webhook, period, hour, counts, backlog, await ledgers.deliveries.state(webhook.id)))


async def _listed(call: Call[NoBody, Any], webhook_id: str | None) -> Answer:
    query: ListDeliveries = call.query
    ledger = call.hub.store.ledgers.deliveries
    found = await ledger.find(
        DeliveryQuery(
            organization_id=call.organization_id,
            webhook_id=webhook_id,
            statuses=query.status,
            events=types_delivered(query.event, "event"),
            event_id=query.event_id,
            start_time=query.start_time,
            end_time=query.end_time,
            before_id=decode_cursor(query.cursor, str)[0] if query.cursor is not None else None,
            limit=query.limit + 1,
            offset=query.offset,
        )
    )
    has_more, shown = len(found) > query.limit, found[: query.limit]
    attempts = await ledger.attempts([delivery.id for delivery in shown])
    page = Page(
        total_count=None,
        limit=query.limit,
        offset=query.offset,
        has_more=has_more,
        next_cursor=encode_cursor([shown[-1].id]) if has_more else None,
    )
    return Answer([delivery_view(each, attempts.get(each.id, [])) for each in shown], page=page)


def _caller(call: Call[Any, Any]) -> Caller:
    return Caller(call.organization_id, call.metadata)
