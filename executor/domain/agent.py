"""An agent: somebody outside whom workflows ask. Its fold, its decider, its row; its credential arrives sealed.

Deleted agents stay in the log and in the table, and are gone for everybody but who lists them; their names are free.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, ClassVar, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from executor.domain.aggregate import Aggregate, Row
from executor.domain.errors import Code, Invalid, NotFound, Problem
from executor.domain.events import Event, Fact, Stamp
from executor.domain.events.agent import (
    AgentDeleted,
    AgentFacts,
    AgentRegistered,
    AgentUpdated,
    RetryConfig,
)
from executor.domain.secrets import REDACTED
from executor.domain.values import Instant

STREAMS: Final = "agent:"
DEFAULT_TIMEOUT_MS: Final = 30_000
DEFAULT_HEADER: Final = "X-API-Key"
CREDENTIALS: Final = {"bearer": "token", "apikey": "key"}
"""Where in `auth_config` the credential of each kind of authentication is."""


class AgentStatus(StrEnum):
    ACTIVE = "active"
    INACTIVE = "inactive"
    DELETED = "deleted"


class AgentType(StrEnum):
    HUMAN = "human"
    AI = "ai"
    SERVICE = "service"


class Availability(StrEnum):
    AVAILABLE = "available"
    BUSY = "busy"
    OFFLINE = "offline"


class Protocol(StrEnum):
    """How an agent is spoken to. `auto`: A2A where it has an agent card, else plain HTTP."""

    AUTO = "auto"
    A2A = "a2a"
    HTTP = "http"


def stream(id: str) -> str:
    return f"{STREAMS}{id}"


class State(Struct, frozen=True, kw_only=True):
    """The fields of `AgentFacts`, and what the log knows besides. An unborn agent has no status."""

    id: str = ""
    organization_id: str = ""
    name: str = ""
    description: str | None = None
    url: str | None = None
    agent_type: str = str(AgentType.SERVICE)
    protocol: str = str(Protocol.AUTO)
    capabilities: tuple[str, ...] = ()
    auth_type: str = "none"
    auth_config: dict[str, str] = {}
    timeout_ms: int = DEFAULT_TIMEOUT_MS
    retry_config: RetryConfig = RetryConfig()
    availability: str = str(Availability.AVAILABLE)
    status: str = ""
    created_by: str = ""
    created_at: Instant = Instant("")
    updated_at: Instant = Instant("")
    version: int = 0

    @property
    def is_there(self) -> bool:
        return self.status in (AgentStatus.ACTIVE, AgentStatus.INACTIVE)


class Change(Struct, frozen=True, kw_only=True):
    """What a client may set; a field left out keeps its value, and so does a credential that is `[REDACTED]`."""

    name: str | UnsetType = UNSET
    description: str | UnsetType | None = UNSET
    url: str | UnsetType | None = UNSET
    agent_type: str | UnsetType = UNSET
    protocol: str | UnsetType = UNSET
    capabilities: tuple[str, ...] | UnsetType = UNSET
    auth_type: str | UnsetType = UNSET
    auth_config: dict[str, str] | UnsetType = UNSET
    timeout_ms: int | UnsetType = UNSET
    retry_config: RetryConfig | UnsetType = UNSET
    availability: str | UnsetType = UNSET
    status: str | UnsetType = UNSET

    def given(self) -> dict[str, Any]:
        fields = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: value for name, value in fields if value is not UNSET}


_FIELDS: Final = AgentFacts.__struct_fields__


def initial() -> State:
    return State()


def evolve(state: State, facts: Sequence[Fact]) -> State:
    for event, stamp in facts:
        state = _fold(state, event, stamp)
    return state


def _fold(state: State, event: Event, stamp: Stamp) -> State:
    state = structs.replace(state, version=stamp.version, updated_at=stamp.time)
    match event:
        case AgentRegistered():
            return structs.replace(
                state,
                id=stamp.id,
                organization_id=stamp.organization_id,
                created_by=stamp.actor.rpartition(":")[2],
                created_at=stamp.time,
                **_fields(event),
            )
        case AgentUpdated():
            return structs.replace(state, **_fields(event))
        case AgentDeleted():
            return structs.replace(state, status=str(AgentStatus.DELETED))
        case _:
            raise TypeError(f"an agent does not fold {event.type}")


def _fields(of: AgentFacts | State) -> dict[str, Any]:
    return {name: getattr(of, name) for name in _FIELDS}


def decide_register(state: State, change: Change) -> list[Event]:
    """`change` has at least a name."""
    wanted = {"status": str(AgentStatus.ACTIVE)} | change.given()
    return [AgentRegistered(**_fields(structs.replace(state, **wanted)))]


def decide_update(state: State, change: Change) -> list[Event]:
    """Nothing for a change that changes nothing. Raises `NotFound`, and `Invalid` for a `[REDACTED]` without anything
    stored behind it."""
    _alive(state)
    after = structs.replace(state, **change.given())
    after = structs.replace(after, auth_config=_kept(state, after))
    changed = tuple(name for name in _FIELDS if getattr(state, name) != getattr(after, name))
    return [AgentUpdated(**_fields(after), changed=changed)] if changed else []


def decide_delete(state: State) -> list[Event]:
    _alive(state)
    return [AgentDeleted(name=state.name)]


def _alive(state: State) -> None:
    if not state.is_there:
        raise NotFound("agent", state.id)


def _kept(before: State, after: State) -> dict[str, str]:
    field = CREDENTIALS.get(after.auth_type)
    if field is None or after.auth_config.get(field) != REDACTED:
        return after.auth_config
    if before.auth_type != after.auth_type:
        message = f"'auth_config.{field}' is {REDACTED}, which keeps what is stored, but nothing is; give the value"
        raise Invalid([Problem(Code.VALIDATION_ERROR, message, f"auth_config.{field}")])
    return after.auth_config | {field: before.auth_config[field]}


class AgentRow(Row, frozen=True, kw_only=True):
    """`document` is the whole `State` as JSON, the sealed credential included: to call by, not to show."""

    table: ClassVar[str] = "agents"
    id: str
    organization_id: str
    name: str
    agent_type: str
    status: str
    availability: str
    capabilities: str
    search: str
    created_at: Instant
    updated_at: Instant
    version: int
    document: bytes


def rows(before: State, after: State) -> Sequence[Row]:
    return (
        AgentRow(
            id=after.id,
            organization_id=after.organization_id,
            name=after.name,
            agent_type=after.agent_type,
            status=after.status,
            availability=after.availability,
            capabilities=msgspec.json.encode(after.capabilities).decode(),
            search=f"{after.name}\n{after.description or ''}".lower(),
            created_at=after.created_at,
            updated_at=after.updated_at,
            version=after.version,
            document=msgspec.json.encode(after),
        ),
    )


_STATE = msgspec.json.Decoder(State)


def state_of(row: AgentRow) -> State:
    return _STATE.decode(row.document)


def names(state: State) -> tuple[str, ...]:
    """The name is unique in its organization until the agent is deleted."""
    return (f"agent:{state.organization_id}:{state.name}",) if state.is_there else ()


AGGREGATE: Aggregate[State] = Aggregate(
    prefix="agent", initial=initial, evolve=evolve, rows=rows, names=names, kinds=(AgentRow,)
)
