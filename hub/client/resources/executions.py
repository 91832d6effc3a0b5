"""`client.executions`: what runs and ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub.client.http import Http
from hub.client.listing import Listing
from hub.client.live.links import Links
from hub.client.live.message import Types, wish_of
from hub.client.live.subscription import Subscription
from hub.client.live.waiting import ended
from hub.client.resources.resource import Resource, given
from hub.client.types import Component, Event, Execution, LogLine

_PATH = "executions"


class Executions(Resource):
    def __init__(self, http: Http, links: Links) -> None:
        super().__init__(http)
        self._links = links

    def list(self, **query: Any) -> Listing[Execution]:
        """`workflow_id`, `status`, `user_id`, `start_date`, `end_date`, `priority`, `tags`, `limit`, `offset`,
        `cursor`."""
        return Listing(self._http, (_PATH,), Execution, query)

    async def get(self, execution_id: str, *, at: str | int | None = None) -> Execution:
        """`at`: as it was at a position or a time."""
        return await self._ask(Execution, "GET", _PATH, execution_id, query=given(at=at))

    async def wait_for_completion(self, execution_id: str, *, timeout: float | None = None) -> Execution:
        """The execution, once it has ended, well or not: look at `status`. It hears of it over the socket, and asks
        where there is none. Raises `CompletionTimeout` after so many seconds; the execution goes on."""
        channel = self._subscription(execution_id, types=("execution.*",))
        return await ended(lambda: self.get(execution_id), channel, execution_id, timeout)

    def subscribe(
        self,
        execution_id: str,
        *,
        since: int | None = None,
        epoch: str | None = None,
        types: Types = None,
        filter: str | None = None,
        mode: str | None = None,
    ) -> Subscription:
        """What `client.subscribe("execution", execution_id=…)` is."""
        return self._subscription(execution_id, since, epoch, types, filter, mode)

    async def start(self, execution_id: str) -> Execution:
        """One that is pending, now."""
        return await self._do(execution_id, "start", {})

    async def cancel(self, execution_id: str, *, reason: str | None = None) -> Execution:
        return await self._do(execution_id, "cancel", given(reason=reason))

    async def terminate(self, execution_id: str, *, reason: str | None = None) -> Execution:
        """Nobody waits for what runs."""
        return await self._do(execution_id, "terminate", given(reason=reason))

    async def pause(self, execution_id: str, *, reason: str | None = None) -> Execution:
        return await self._do(execution_id, "pause", given(reason=reason))

    async def resume(self, execution_id: str, *, reason: str | None = None) -> Execution:
        return await self._do(execution_id, "resume", given(reason=reason))

    async def retry(
        self,
        execution_id: str,
        *,
        from_component: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        version: str | None = None,
        reason: str | None = None,
    ) -> Execution:
        """From where it stopped, or from a component; `version` is `kept` or `newest`."""
        body = given(from_component=from_component, parameters=parameters, version=version, reason=reason)
        return await self._do(execution_id, "retry", body)

    async def signal(self, execution_id: str, key: str, data: Any = None) -> Execution:
        """`data` becomes the output of the component that waits for it."""
        return await self._do(execution_id, "signal", {"key": key, "data": data})

    async def priority(self, execution_id: str, priority: int | str) -> Execution:
        return await self._do(execution_id, "priority", {"priority": priority})

    def logs(self, execution_id: str, **query: Any) -> Listing[LogLine]:
        """`level`, `component_id`, `iteration`, `order`, `limit`, `offset`, `cursor`."""
        return Listing(self._http, (_PATH, execution_id, "logs"), LogLine, query)

    def history(self, execution_id: str, **query: Any) -> Listing[Event]:
        """Every event of it, in order."""
        return Listing(self._http, (_PATH, execution_id, "history"), Event, query)

    def components(self, execution_id: str, **query: Any) -> Listing[Component]:
        """Those that started, in that order, then the pending ones."""
        return Listing(self._http, (_PATH, execution_id, "components"), Component, query)

    def _subscription(
        self,
        execution_id: str,
        since: int | None = None,
        epoch: str | None = None,
        types: Types = None,
        filter: str | None = None,
        mode: str | None = None,
    ) -> Subscription:
        wish = wish_of("execution", {"execution_id": execution_id}, types, filter, mode)
        return Subscription(self._links, wish, since, epoch)

    async def _do(self, execution_id: str, what: str, body: dict[str, Any]) -> Execution:
        return await self._ask(Execution, "POST", _PATH, execution_id, what, body=body)
