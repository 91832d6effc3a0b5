"""`client.webhooks`: endpoints, and what was delivered to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hub.client.listing import Listing
from hub.client.resources.resource import Resource, given
from hub.client.types import Delivery, Webhook

_PATH = "webhooks"


class Webhooks(Resource):
    async def create(self, webhook: Mapping[str, Any], *, idempotency_key: str | None = None) -> Webhook:
        """`url` and `events`, and what else `POST /webhooks` takes. Its `secret` is in this answer alone."""
        return await self._ask(Webhook, "POST", _PATH, body=webhook, key=idempotency_key)

    def list(self, **query: Any) -> Listing[Webhook]:
        """`active`, `limit`, `offset`, `cursor`."""
        return Listing(self._http, (_PATH,), Webhook, query)

    async def get(self, webhook_id: str) -> Webhook:
        return await self._ask(Webhook, "GET", _PATH, webhook_id)

    async def update(self, webhook_id: str, changes: Mapping[str, Any]) -> Webhook:
        return await self._ask(Webhook, "PUT", _PATH, webhook_id, body=changes)

    async def delete(self, webhook_id: str) -> None:
        await self._http.send("DELETE", _PATH, webhook_id)

    async def test(self, webhook_id: str) -> str:
        """The id of the delivery of a test event."""
        envelope = await self._http.send("POST", _PATH, webhook_id, "test")
        return str(msgspec.json.decode(envelope.data)["delivery_id"])

    async def enable(self, webhook_id: str) -> Webhook:
        return await self._ask(Webhook, "POST", _PATH, webhook_id, "enable")

    async def disable(self, webhook_id: str) -> Webhook:
        """What waits is cancelled."""
        return await self._ask(Webhook, "POST", _PATH, webhook_id, "disable")

    async def rotate_secret(
        self, webhook_id: str, *, secret: str | None = None, overlap_seconds: float | None = None
    ) -> Webhook:
        """A new secret, in this answer alone; the old one signs as well until the overlap is over."""
        body = given(secret=secret, overlap_seconds=overlap_seconds)
        return await self._ask(Webhook, "POST", _PATH, webhook_id, "rotate-secret", body=body)

    async def recover(
        self, webhook_id: str, *, since: int | str, until: int | str | None = None, what: str = "failed"
    ) -> str:
        """Sends what was `failed` or `undelivered` between two positions or times; the id of the job, which
        `events.get_replay` shows."""
        body = given(since=since, until=until, what=what)
        envelope = await self._http.send("POST", _PATH, webhook_id, "recover", body=body)
        return str(msgspec.json.decode(envelope.data)["id"])

    async def cancel(self, webhook_id: str, **which: Any) -> int:
        """Cancels what waits, by `status`, `events`, `start_time`, `end_time`; answers how many."""
        envelope = await self._http.send("POST", _PATH, webhook_id, "cancel", body=which)
        return int(msgspec.json.decode(envelope.data)["cancelled"])

    async def stats(self, webhook_id: str, *, period: str = "24h") -> dict[str, Any]:
        """How it does; `period` is 1h, 24h or 7d."""
        envelope = await self._http.send("GET", _PATH, webhook_id, "stats", query={"period": period})
        stats: dict[str, Any] = msgspec.json.decode(envelope.data)
        return stats

    def deliveries(self, webhook_id: str, **query: Any) -> Listing[Delivery]:
        """`status`, `event`, `event_id`, `start_time`, `end_time`, `limit`, `offset`, `cursor`."""
        return Listing(self._http, (_PATH, webhook_id, "deliveries"), Delivery, query)

    async def delivery(self, delivery_id: str) -> Delivery:
        return await self._ask(Delivery, "GET", "deliveries", delivery_id)

    async def resend(self, delivery_id: str) -> Delivery:
        return await self._ask(Delivery, "POST", "deliveries", delivery_id, "resend")
