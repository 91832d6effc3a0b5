"""Webhooks: register an endpoint, test it, see what was delivered."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from executor.domain.errors import NotFound, Problem
from executor.domain.values import Instant, is_ulid
from executor.ports import DeliveryQuery, Eq, Order, Where
from hub.envelope import Answer, Page
from hub.operation import Call, NoBody, Resource
from hub.queries import NoQuery, Paging, decode_cursor, encode_cursor, page_of
from hub.services import Services
from webhooks.checks import check
from webhooks.commands import Caller
from webhooks.endpoint import WebhookRow
from webhooks.requests import CreateWebhook, RotateSecret, UpdateWebhook
from webhooks.view import delivery_view, view

RESOURCE = Resource("webhooks")


class ListWebhooks(Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    active: bool | None = None


class ListDeliveries(Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`start_time` is inclusive, `end_time` exclusive, both of the delivery's creation."""

    status: Literal["pending", "in_flight", "retrying", "succeeded", "exhausted", "cancelled"] | None = None
    event: str | None = None
    start_time: Instant | None = None
    end_time: Instant | None = None


class TestSent(Struct, frozen=True, kw_only=True):
    delivery_id: str


async def inspect(hub: Services, fields: dict[str, Any]) -> list[Problem]:
    """What is wrong beyond its shape with a part of a request."""
    try:
        part = msgspec.convert(fields, UpdateWebhook)
    except msgspec.ValidationError:
        return []
    return await check(part, hub.egress)


@RESOURCE.route("POST", "/webhooks", needs="webhook.write", body=CreateWebhook, status=201, inspect=inspect)
async def create(call: Call[CreateWebhook, NoQuery]) -> Answer:
    """Register a webhook; its secret is shown this once."""
    created = await call.hub.webhooks.create(_caller(call), call.body)
    return Answer(view(created.state, created.secret), "Webhook created; its secret is not shown again")


@RESOURCE.route("GET", "/webhooks", needs="webhook.read", query=ListWebhooks)
async def list_(call: Call[NoBody, ListWebhooks]) -> Answer:
    """List webhooks, newest first."""
    where: list[Where] = [Eq("organization_id", call.organization_id), Eq("deleted", 0)]
    if call.query.active is not None:
        where.append(Eq("active", int(call.query.active)))
    order = (Order("created_at", True), Order("id", True))
    rows, page = await page_of(call.hub.store.reads, WebhookRow, where, order, call.query)
    return Answer([view(row) for row in rows], page=page)


@RESOURCE.route("GET", "/webhooks/{id}", needs="webhook.read")
async def get(call: Call[NoBody, NoQuery]) -> Answer:
    """Get a webhook."""
    return Answer(view(await call.hub.webhooks.get(_caller(call), call.path["id"])))


@RESOURCE.route("PUT", "/webhooks/{id}", needs="webhook.write", body=UpdateWebhook)
async def update(call: Call[UpdateWebhook, NoQuery]) -> Answer:
    """Change a webhook; fields left out keep their values."""
    changed = await call.hub.webhooks.update(_caller(call), call.path["id"], call.body)
    said = "Webhook updated" if changed.secret is None else "Webhook updated; its new secret is not shown again"
    return Answer(view(changed.state, changed.secret), said)


@RESOURCE.route("DELETE", "/webhooks/{id}", needs="webhook.write")
async def delete(call: Call[NoBody, NoQuery]) -> Answer:
    """Delete a webhook: nothing more is sent to it."""
    await call.hub.webhooks.delete(_caller(call), call.path["id"])
    return Answer(None, "Webhook deleted")


@RESOURCE.route("POST", "/webhooks/{id}/enable", needs="webhook.write")
async def enable(call: Call[NoBody, NoQuery]) -> Answer:
    """Enable a webhook that was switched off."""
    state = await call.hub.webhooks.enable(_caller(call), call.path["id"])
    return Answer(view(state), "Webhook enabled")


@RESOURCE.route("POST", "/webhooks/{id}/disable", needs="webhook.write")
async def disable(call: Call[NoBody, NoQuery]) -> Answer:
    """Switch a webhook off: what waits is cancelled."""
    state = await call.hub.webhooks.disable(_caller(call), call.path["id"])
    return Answer(view(state), "Webhook disabled")


@RESOURCE.route("POST", "/webhooks/{id}/rotate-secret", needs="webhook.write", body=RotateSecret)
async def rotate_secret(call: Call[RotateSecret, NoQuery]) -> Answer:
    """Replace a webhook's secret; the old one signs as well until the overlap is over."""
    changed = await call.hub.webhooks.rotate(_caller(call), call.path["id"], call.body)
    return Answer(view(changed.state, changed.secret), "Secret replaced; the new one is not shown again")


@RESOURCE.route("POST", "/webhooks/{id}/test", needs="webhook.write", status=202)
async def test(call: Call[NoBody, NoQuery]) -> Answer:
    """Send a test event to a webhook."""
    delivery = await call.hub.webhooks.test(_caller(call), call.path["id"])
    return Answer(TestSent(delivery_id=delivery.id), "A test event is on its way")


@RESOURCE.route("GET", "/webhooks/{id}/deliveries", needs="webhook.read", query=ListDeliveries)
async def deliveries(call: Call[NoBody, ListDeliveries]) -> Answer:
    """List the deliveries of a webhook with their attempts, newest first."""
    query, ledger = call.query, call.hub.store.ledgers.deliveries
    webhook = await call.hub.webhooks.get(_caller(call), call.path["id"])
    before = decode_cursor(query.cursor, str)[0] if query.cursor is not None else None
    found = await ledger.find(
        DeliveryQuery(
            organization_id=call.organization_id,
            webhook_id=webhook.id,
            status=query.status,
            event=query.event,
            start_time=query.start_time,
            end_time=query.end_time,
            before_id=before,
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


@RESOURCE.route("GET", "/deliveries/{id}", needs="webhook.read")
async def delivery(call: Call[NoBody, NoQuery]) -> Answer:
    """Get a delivery with its attempts."""
    id = call.path["id"]
    found = await call.hub.store.ledgers.deliveries.get(id) if is_ulid(id) else None
    if found is None or found[0].organization_id != call.organization_id:
        raise NotFound("delivery", id)
    return Answer(delivery_view(*found))


def _caller(call: Call[Any, Any]) -> Caller:
    return Caller(call.organization_id, call.metadata)
