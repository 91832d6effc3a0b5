"""The client of a hub: its REST API as typed calls, its channels as loops that no restart ends."""

from __future__ import annotations

import os
import ssl
from datetime import datetime
from random import random
from types import TracebackType
from typing import Any

import msgspec

from hub.client.address import api_url
from hub.client.backoff import Chance
from hub.client.credentials import ApiKey, Credentials
from hub.client.errors import Misused
from hub.client.http import Http
from hub.client.listing import Listing
from hub.client.live.links import Links
from hub.client.live.message import Types, wish_of
from hub.client.live.subscription import Subscription
from hub.client.resources.events import Events
from hub.client.resources.executions import Executions
from hub.client.resources.tasks import Tasks
from hub.client.resources.webhooks import Webhooks
from hub.client.resources.workflows import Workflows
from hub.client.types import Me

TRY_SECONDS = 30.0
"""How long one try of a request may take, unless said."""
RETRIES = 5


class WorkflowClient:
    """One hub, as one caller, within one event loop. To be closed: `async with`, or `aclose`."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: ApiKey | None = None,
        *,
        timeout: float = TRY_SECONDS,
        retries: int = RETRIES,
        ssl_context: ssl.SSLContext | None = None,
        proxies_from_environment: bool = False,
        chance: Chance = random,
    ) -> None:
        """`base_url` with or without `/api/v1`, else `RUNCAST_URL`. `api_key` is an API key or a token, or a callable
        that gives a fresh one, at once or when awaited; else `RUNCAST_API_KEY`. `timeout` is seconds for each try
        of a request, of which there are at most `retries` more than one. Raises `Misused`."""
        base_url = base_url or os.environ.get("RUNCAST_URL")
        api_key = api_key or os.environ.get("RUNCAST_API_KEY")
        if base_url is None or base_url == "":
            raise Misused("base_url: say which hub, or set RUNCAST_URL")
        if api_key is None or api_key == "":
            raise Misused("api_key: say who asks, or set RUNCAST_API_KEY")
        self._credentials = Credentials(api_key)
        self._http = Http(
            api_url(base_url),
            self._credentials,
            seconds=timeout,
            retries=retries,
            ssl_context=ssl_context,
            uses_proxies=proxies_from_environment,
            chance=chance,
        )
        self._links = Links(
            self._http.api,
            self._credentials,
            self._lifetime,
            ssl_context=ssl_context,
            uses_proxies=proxies_from_environment,
            chance=chance,
        )
        self.workflows = Workflows(self._http)
        self.executions = Executions(self._http, self._links)
        self.tasks = Tasks(self._http)
        self.webhooks = Webhooks(self._http)
        self.events = Events(self._http)

    def __repr__(self) -> str:
        return f"WorkflowClient({self._http.api!r})"

    async def __aenter__(self) -> WorkflowClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Ends everything that goes on; loops over subscriptions end with `ClientClosed`. May be called twice."""
        await self._links.close()
        await self._http.close()

    def subscribe(
        self,
        channel: str,
        *,
        execution_id: str | None = None,
        workflow_id: str | None = None,
        task_id: str | None = None,
        assignee: str | None = None,
        webhook_id: str | None = None,
        replay_id: str | None = None,
        since: int | None = None,
        epoch: str | None = None,
        types: Types = None,
        filter: str | None = None,
        mode: str | None = None,
    ) -> Subscription:
        """A channel's messages, to be looped over: `execution`, `workflow`, `task` (by `task_id` or `assignee`),
        `webhook`, `events`, `system`, `replay`; an id may be `"*"`.

        All that comes after the position `since` (0 is the beginning, None the head of the log), each once, in order,
        through whatever cuts and restarts. `epoch` names the log that `since` is of. A loop raises
        `SubscriptionRefused`, `SocketStopped`, `NoSocket` and `ClientClosed`. Raises `Misused`.
        """
        ids = {
            "execution_id": execution_id,
            "workflow_id": workflow_id,
            "task_id": task_id,
            "assignee": assignee,
            "webhook_id": webhook_id,
            "replay_id": replay_id,
        }
        return Subscription(self._links, wish_of(channel, ids, types, filter, mode), since, epoch)

    async def me(self) -> Me:
        """Who asks, and what they may do."""
        return msgspec.json.decode((await self._http.send("GET", "me")).data, type=Me)

    async def _lifetime(self) -> float | None:
        """By the clock of the hub."""
        envelope = await self._http.send("GET", "me")
        expires_at = msgspec.json.decode(envelope.data, type=Me).expires_at
        return None if expires_at is None else _seconds_until(expires_at, envelope.metadata.timestamp)

    async def request(self, method: str, path: str, *, query: dict[str, Any] | None = None, body: Any = None) -> Any:
        """The `data` of any route below `/api/v1`, such as `request("GET", "/agents")`."""
        return msgspec.json.decode((await self._http.send(method, *_parts(path), query=query, body=body)).data)

    def list(self, path: str, **query: Any) -> Listing[dict[str, Any]]:
        """Any list below `/api/v1`, such as `list("/schedules", limit=100)`."""
        return Listing(self._http, _parts(path), dict[str, Any], query)


def _seconds_until(time: str, now: str) -> float:
    return (datetime.fromisoformat(time) - datetime.fromisoformat(now)).total_seconds()


def _parts(path: str) -> tuple[str, ...]:
    return tuple(path.strip("/").split("/"))
