"""`client.events`: the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hub.client.listing import Listing, Page
from hub.client.resources.resource import Resource, given
from hub.client.types import Event, Replay

_PATH = "events"


class Events(Resource):
    def list(self, **query: Any) -> Listing[Event]:
        """In the order of their positions: `after` and `before` (both exclusive), `types` (patterns such as
        `execution.*`), `workflow_id`, `execution_id`, `start_time`, `end_time`, `order`, `limit`."""
        return Listing(self._http, (_PATH,), Event, query, _by_position)

    async def get(self, position: int) -> Event:
        return await self._ask(Event, "GET", _PATH, str(position))

    async def replay(
        self,
        target: str | Mapping[str, Any] = "channel",
        *,
        webhook_id: str | None = None,
        first: int | str | None = None,
        last: int | str | None = None,
        types: Sequence[str] | None = None,
        workflow_id: str | None = None,
        execution_id: str | None = None,
    ) -> Replay:
        """Casts a span of the log again, both ends (positions or times) inclusive: to a webhook, or to a channel for
        `client.subscribe("replay", replay_id=…)`."""
        if webhook_id is not None:
            target = {"type": "webhook", "webhook_id": webhook_id}
        body = given(target=target, to=last, types=types, workflow_id=workflow_id, execution_id=execution_id)
        body |= given(**{"from": first})
        return await self._ask(Replay, "POST", _PATH, "replay", body=body)

    def replays(self, **query: Any) -> Listing[Replay]:
        return Listing(self._http, (_PATH, "replay"), Replay, query)

    async def get_replay(self, replay_id: str) -> Replay:
        return await self._ask(Replay, "GET", _PATH, "replay", replay_id)

    async def cancel_replay(self, replay_id: str) -> Replay:
        return await self._ask(Replay, "POST", _PATH, "replay", replay_id, "cancel")


def _by_position(page: Page[Event]) -> dict[str, Any] | None:
    """Positions are cursors that hold for ever."""
    if not page.has_more or not page.items:
        return None
    last, end = page[-1].position, page[0].position
    return {"offset": None, "cursor": None} | ({"after": last} if last >= end else {"before": last})
