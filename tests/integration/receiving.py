"""What the webhook tests stand on: a receiver on loopback, and a hub's webhooks over a real store and Valkey."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from executor.clock import SystemClock
from executor.domain import workflow
from executor.domain.definition import ComponentSpec, Definition
from executor.domain.events import Failure
from executor.domain.execution import decide, rows
from executor.egress import Egress
from executor.handle import handle
from executor.ports import Attempt, Delivery, DeliveryQuery, Metadata, Organization, Store
from executor.sealing import Sealer, SecretKey
from hub.valkey import EmbeddedValkey
from storage.open import open_store
from storage.sqlite.store import SqliteStore
from webhooks import delivery, endpoint
from webhooks.assembly import Webhooks
from webhooks.commands import Caller, Created
from webhooks.requests import CreateWebhook

AGGREGATES = (workflow.AGGREGATE, rows.AGGREGATE, endpoint.AGGREGATE, delivery.AGGREGATE)
QUICK = {"max_attempts": 5, "initial_delay_seconds": 0, "max_delay_seconds": 0, "backoff_multiplier": 1}
"""A policy that tries again at once."""

Reply = Callable[["Arrived"], Awaitable[web.StreamResponse]]


class Arrived(NamedTuple):
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> dict[str, Any]:
        decoded: dict[str, Any] = msgspec.json.decode(self.body)
        return decoded

    @property
    def event(self) -> str:
        return str(self.json["event"])


class Receiver:
    """Keeps what arrives. `replies` are answered in turn (a status, or a coroutine that answers), then `always`."""

    def __init__(self) -> None:
        self.arrived: list[Arrived] = []
        self.replies: list[int | Reply] = []
        self.always: int = 200
        self.url = ""

    def events(self, path: str | None = None) -> list[str]:
        return [each.event for each in self.arrived if path in (None, each.path)]

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        arrived = Arrived(request.path, dict(request.headers), await request.read())
        self.arrived.append(arrived)
        reply = self.replies.pop(0) if self.replies else self.always
        return self.plain(reply) if isinstance(reply, int) else await reply(arrived)

    def plain(self, status: int) -> web.Response:
        return web.Response(status=status, text="noted")


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    runner = web.ServerRunner(web.Server(receiver.answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        await runner.cleanup()


class World:
    """One store, with organizations, and webhooks that can be started, stopped and killed on it."""

    def __init__(self, store: SqliteStore, valkey: EmbeddedValkey, egress: Egress, lease_seconds: float) -> None:
        self.store, self.valkey, self.egress = store, valkey, egress
        self.clock = SystemClock()
        self.key = SecretKey.from_text("of the tests")
        self.sealer = Sealer(self.key, store.ledgers.organizations)
        self.lease_seconds = lease_seconds
        self.webhooks = self.fresh()
        self._running: asyncio.Task[None] | None = None

    def fresh(self, store: Store | None = None) -> Webhooks:
        """As after a restart, or in another process: nothing is known but what is stored."""
        return Webhooks(
            store or self.store,
            self.sealer,
            self.egress,
            self.clock,
            self.valkey.url,
            lease_seconds=self.lease_seconds,
            turn_seconds=self.lease_seconds,
        )

    async def organization(self, name: str) -> Caller:
        id = self.clock.new_id()
        sealed = self.key.new_organization_key(id)
        await self.store.ledgers.organizations.add(
            Organization(id=id, name=name, sealed_key=sealed, created_at=self.clock.now())
        )
        return Caller(id, Metadata(actor=f"api_key:{self.clock.new_id()}"))

    async def start(self, *, is_alone: bool = True) -> None:
        self._running = asyncio.create_task(self.webhooks.run(is_alone=is_alone))

    async def stop(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            await asyncio.wait([running])

    async def register(self, caller: Caller, url: str, *events: str, **fields: Any) -> Created:
        body = {"url": url, "events": list(events) or ["*"], "retry_policy": QUICK} | fields
        return await self.webhooks.commands.create(caller, msgspec.convert(body, CreateWebhook))

    async def workflow(self, caller: Caller, name: str) -> str:
        """A `workflow.created`; answers the event's id."""
        id = self.clock.new_id()
        change = workflow.Change(name=name, definition=Definition(components=(START,)))
        appended = await handle(
            self.store.log,
            self.clock,
            f"workflow:{id}",
            partial(workflow.decide_create, change=change),
            organization_id=caller.organization_id,
            metadata=caller.metadata,
            workflow_id=id,
        )
        return appended.recorded[0].id

    async def execution(
        self,
        caller: Caller,
        *,
        priority: int = 5,
        project_id: str | None = None,
        fails: bool = False,
        **parameters: Any,
    ) -> str:
        """A run of one component, from `execution.created` to its end; answers its id."""
        id, workflow_id = self.clock.new_id(), self.clock.new_id()
        creation = decide.Creation(
            workflow_id=workflow_id,
            workflow_name="report",
            workflow_version=3,
            workflow_status="active",
            definition=Definition(components=(START,)),
            parameters=parameters,
            priority=priority,
            tags=("nightly",),
            project_id=project_id,
            scheduled_at=None,
            created_by="someone",
        )
        end: decide.Input = decide.Completed("start", 1, {"rows": 3}, ())
        if fails:
            failure = Failure(code="COMPONENT_ERROR", message="it broke", component_id="start")
            end = decide.Failed("start", 1, failure, False, ())
        steps: list[Callable[[Any], Any]] = [
            lambda state: decide.decide_create(state, creation, self.clock.now()),
            lambda state: decide.decide_claim(state, "engine", self.clock.now()),
            lambda state: decide.decide_advance(state, 1, [end], self.clock.now()),
        ]
        for step in steps:
            await handle(
                self.store.log,
                self.clock,
                f"execution:{id}",
                step,
                organization_id=caller.organization_id,
                metadata=caller.metadata,
                workflow_id=workflow_id,
                execution_id=id,
            )
        return id

    async def deliveries(self, caller: Caller, webhook_id: str | None = None) -> list[Delivery]:
        """Oldest first."""
        query = DeliveryQuery(organization_id=caller.organization_id, webhook_id=webhook_id, limit=1000)
        return (await self.store.ledgers.deliveries.find(query))[::-1]

    async def statuses(self, caller: Caller, webhook_id: str | None = None) -> list[str]:
        return [each.status for each in await self.deliveries(caller, webhook_id)]

    async def attempts(self, delivery_id: str) -> list[Attempt]:
        found = await self.store.ledgers.deliveries.get(delivery_id)
        return [] if found is None else found[1]

    async def quiet(self) -> None:
        """Everything in the log so far has its deliveries."""
        head = self.store.log.head
        await until(lambda: self.webhooks.fanout.position >= head)


START = ComponentSpec(id="start", type="start")


async def until(holds: Callable[[], bool | Awaitable[bool]], seconds: float = 60) -> None:
    """Waits for a condition, and fails where it does not come."""
    async with asyncio.timeout(seconds):
        while True:
            answer = holds()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def world(path: Path, *, lease_seconds: float = 5.0) -> AsyncIterator[World]:
    clock, valkey = SystemClock(), EmbeddedValkey(path / "valkey")
    egress = Egress([ip_network("127.0.0.0/8")], user_agent="Runcast/test")
    store = await open_store(f"sqlite:///{path / 'runcast.db'}", AGGREGATES, clock=clock)
    await valkey.start()
    made = World(store, valkey, egress, lease_seconds)
    try:
        yield made
    finally:
        await made.stop()
        await valkey.stop()
        await egress.close()
        await store.close()
