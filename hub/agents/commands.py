"""What clients do with agents: every command of the routes, and the sealing of their credentials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from msgspec import Struct, structs

from executor.agents import below, credential_context, opened_credential
from executor.domain import agent
from executor.domain.agent import CREDENTIALS, Change, State
from executor.domain.errors import Invalid, NotFound, ResourceConflict
from executor.domain.events import Event
from executor.domain.secrets import REDACTED, redact
from executor.egress import Egress, EgressError
from executor.handle import handle
from executor.ports import Clock, EventLog, Metadata, NameTaken
from executor.sealing import Sealer, Unsealable
from hub.agents.requests import RegisterAgent, UpdateAgent, change_of, check

_HEALTH_SECONDS = 30.0
_HEALTH_BYTES = 16 * 1024


class Caller(NamedTuple):
    """For whom, and how the log names them."""

    organization_id: str
    metadata: Metadata


class Health(Struct, frozen=True, kw_only=True):
    """What an agent's own `/health` answered; `status_code` and `response_time_ms` are null where nothing did."""

    healthy: bool
    status_code: int | None = None
    response_time_ms: float | None = None
    error: str | None = None


class AgentCommands:
    """Agents as the routes use them. Raises `NotFound` also for another organization's and for deleted ones,
    `Invalid` with all problems at once, `ResourceConflict` for a name that is taken, and `Unavailable`."""

    def __init__(self, log: EventLog, sealer: Sealer, egress: Egress, clock: Clock) -> None:
        self._log, self._sealer, self._egress, self._clock = log, sealer, egress, clock

    async def register(self, caller: Caller, request: RegisterAgent) -> State:
        problems = await check(request, self._egress, None)
        if problems:
            raise Invalid(problems)
        id = self._clock.new_id()
        change = await self._sealed(caller.organization_id, id, change_of(request, State()))
        return await self._handle(caller, id, partial(agent.decide_register, change=change), request.name)

    async def update(self, caller: Caller, id: str, request: UpdateAgent) -> State:
        stored = await self.get(caller, id)
        problems = await check(request, self._egress, stored)
        if problems:
            raise Invalid(problems)
        change = await self._sealed(caller.organization_id, id, change_of(request, stored))
        name = request.name if isinstance(request.name, str) else stored.name
        return await self._handle(caller, id, partial(agent.decide_update, change=change), name)

    async def delete(self, caller: Caller, id: str) -> None:
        """Nobody asks it from here on, and its name is free."""
        await self.get(caller, id)
        await self._handle(caller, id, agent.decide_delete)

    async def get(self, caller: Caller, id: str) -> State:
        """The newest fold, not a row. Raises `NotFound`."""
        state, _ = await self._log.load(agent.stream(id))
        if not isinstance(state, State) or state.organization_id != caller.organization_id or not state.is_there:
            raise NotFound("agent", id)
        return state

    async def health(self, caller: Caller, id: str) -> Health:
        """Asks the agent's own `/health`, below its URL, with its credential."""
        state = await self.get(caller, id)
        if state.url is None:
            return Health(healthy=False, error="the agent has no URL to ask")
        secret = ""
        try:
            credential = await opened_credential(self._sealer, state)
            secret = credential.secret
            reply = await self._egress.send(
                "GET",
                below(state.url, "/health"),
                headers=credential.headers,
                timeout=min(state.timeout_ms / 1000, _HEALTH_SECONDS),
                max_bytes=_HEALTH_BYTES,
            )
        except (EgressError, Unsealable) as error:
            return Health(healthy=False, error=redact(str(error), [secret]))
        is_healthy = 200 <= reply.status < 300
        return Health(
            healthy=is_healthy,
            status_code=reply.status,
            response_time_ms=round(reply.duration * 1000, 2),
            error=None if is_healthy else f"the agent answered {reply.status}",
        )

    async def _sealed(self, organization_id: str, id: str, change: Change) -> Change:
        """`[REDACTED]` stays what it is: the decider knows what is stored."""
        if not isinstance(change.auth_config, dict):
            return change
        sealed = {
            name: await self._sealer.seal(organization_id, value, credential_context(id))
            if name in CREDENTIALS.values() and value != REDACTED
            else value
            for name, value in change.auth_config.items()
        }
        return structs.replace(change, auth_config=sealed)

    async def _handle(
        self, caller: Caller, id: str, decide: Callable[[State], Sequence[Event]], name: str = ""
    ) -> State:
        try:
            appended = await handle(
                self._log,
                self._clock,
                agent.stream(id),
                decide,
                organization_id=caller.organization_id,
                metadata=caller.metadata,
            )
        except NameTaken:
            raise ResourceConflict(f"there is an agent named '{name}' already", "name") from None
        state: State = appended.state
        return state
