"""What the doors work with: the opened store and everything that stands around it, put together in `wiring.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from executor.components.registry import Registry
from executor.consequences import Consequences
from executor.egress import Egress
from executor.engine import Engine
from executor.ports import Clock, Store
from executor.sealing import Sealer, SecretKey
from hub.agents.commands import AgentCommands
from hub.auth.authenticate import Authenticator
from hub.auth.principal import Principal
from hub.feed import Feed
from hub.idempotency import Idempotency
from hub.meter import RequestMeter
from hub.metrics import Metrics
from hub.replays import ReplayCommands
from hub.roles import Roles
from hub.schedules.commands import ScheduleCommands
from hub.settings import Settings
from hub.socket.endpoint import Sockets
from hub.sse import Streams
from hub.tasks.claims import Claims
from hub.tasks.commands import TaskCommands
from webhooks.callbacks import Callbacks
from webhooks.commands import Commands
from webhooks.redelivery import Redeliveries


@dataclass(frozen=True)
class Services:
    """One process of a hub, running. Its parts are made by `wiring.opened`; those of its `roles` run."""

    settings: Settings
    roles: Roles
    clock: Clock
    store: Store
    secret_key: SecretKey
    sealer: Sealer
    registry: Registry
    egress: Egress
    authenticator: Authenticator
    engine: Engine
    consequences: Consequences
    idempotency: Idempotency
    feed: Feed
    sockets: Sockets
    streams: Streams
    webhooks: Commands
    redeliveries: Redeliveries
    callbacks: Callbacks
    agents: AgentCommands
    schedules: ScheduleCommands
    tasks: TaskCommands
    claims: Claims
    replays: ReplayCommands
    requests: RequestMeter
    metrics: Metrics
    redis_ping: Callable[[], Awaitable[None]]
    end_work: Callable[[], None]
    """Nothing more is taken up, and what is under way begins to end; requests are still answered."""
    started: float

    @property
    def authenticate(self) -> Callable[[str], Awaitable[Principal | None]]:
        return self.authenticator.authenticate
