"""Webhooks: register an endpoint, change it, test it. What is delivered to it: `deliveries.py`."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from executor.domain.errors import Problem
from executor.ports import Eq, Order, Where
from hub.envelope import Answer
from hub.operation import Call, NoBody, Resource
from hub.queries import NoQuery, Paging, page_of
from hub.services import Services
from webhooks.checks import check
from webhooks.commands import Caller
from webhooks.endpoint import WebhookRow
from webhooks.requests import CreateWebhook, RotateSecret, UpdateWebhook
from webhooks.view import view

RESOURCE = Resource("webhooks")


class ListWebhooks(Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    active: bool | None = None


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


def _caller(call: Call[Any, Any]) -> Caller:
    return Caller(call.organization_id, call.metadata)
