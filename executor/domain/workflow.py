"""A workflow: its fold, its decider, its row. The definition that arrives here has been validated.

Draft and inactive ones become active, active ones inactive, any archived, archived ones active again; a deleted one
is gone from lists and kept in the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
from msgspec import Struct, structs

from executor.domain.aggregate import Aggregate, Row
from executor.domain.definition import Definition
from executor.domain.errors import NotFound, ResourceConflict
from executor.domain.events import Event, Fact, Stamp
from executor.domain.events import workflow as events
from executor.domain.secrets import redact_json
from executor.domain.values import DEFAULT_PRIORITY, Instant, WorkflowStatus

_EMPTY = Definition(components=())


class State(Struct, frozen=True, kw_only=True):
    """`version` counts definitions, `stream_version` events. An unborn workflow has no status. `written` is the
    definition as it was sent, where that was in another form than the graph's."""

    id: str = ""
    organization_id: str = ""
    name: str = ""
    description: str | None = None
    definition: Definition = _EMPTY
    written: dict[str, Any] | None = None
    status: WorkflowStatus | None = None
    version: int = 0
    stream_version: int = 0
    category: str | None = None
    tags: tuple[str, ...] = ()
    priority: int = DEFAULT_PRIORITY
    template_id: str | None = None
    created_by: str = ""
    created_at: Instant = Instant("")
    updated_at: Instant = Instant("")


class Change(Struct, frozen=True, kw_only=True):
    """What a client may set; a field left out keeps its value. `written` comes with a `definition`, or not at all."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    definition: Definition | msgspec.UnsetType = msgspec.UNSET
    written: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    category: str | msgspec.UnsetType | None = msgspec.UNSET
    tags: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    priority: int | msgspec.UnsetType = msgspec.UNSET

    def given(self) -> dict[str, Any]:
        fields = ((name, getattr(self, name)) for name in self.__struct_fields__)
        return {name: value for name, value in fields if value is not msgspec.UNSET}


def initial() -> State:
    return State()


def evolve(state: State, facts: Sequence[Fact]) -> State:
    for event, stamp in facts:
        state = _fold(state, event, stamp)
    return state


def _fold(state: State, event: Event, stamp: Stamp) -> State:
    if not isinstance(event, events.WorkflowEvent):
        raise TypeError(f"a workflow does not fold {event.type}")
    state = structs.replace(
        state,
        name=event.name,
        status=WorkflowStatus(event.status),
        version=event.workflow_version,
        stream_version=stamp.version,
        updated_at=stamp.time,
    )
    if isinstance(event, events.WorkflowCreated):
        state = structs.replace(
            state,
            id=stamp.id,
            organization_id=stamp.organization_id,
            template_id=event.template_id,
            created_by=stamp.actor.rpartition(":")[2],
            created_at=stamp.time,
        )
    if isinstance(event, events.WorkflowCreated | events.WorkflowUpdated):
        state = structs.replace(
            state,
            description=event.description,
            definition=event.definition,
            written=event.written,
            category=event.category,
            tags=event.tags,
            priority=event.priority,
        )
    return state


def decide_create(state: State, change: Change, template_id: str | None = None) -> list[Event]:
    if state.status is not None:
        raise ResourceConflict("the workflow exists already")
    given = {"description": None, "category": None, "tags": (), "priority": DEFAULT_PRIORITY} | change.given()
    return [events.WorkflowCreated(**given, status=WorkflowStatus.DRAFT, workflow_version=1, template_id=template_id)]


def decide_update(state: State, change: Change) -> list[Event]:
    """Nothing for a change that changes nothing; a changed definition is a new version, also where only its form is
    another."""
    _alive(state)
    if state.status is WorkflowStatus.ARCHIVED:
        raise _illegal(state, "changed; activate it first")
    changed = {name: value for name, value in change.given().items() if not _same(value, getattr(state, name))}
    if not changed:
        return []
    names = tuple(dict.fromkeys("definition" if name == "written" else name for name in changed))
    after = structs.replace(state, **changed)
    return [
        events.WorkflowUpdated(
            **{name: getattr(after, name) for name in change.__struct_fields__},
            status=str(after.status),
            workflow_version=state.version + ("definition" in names),
            changed=names,
        )
    ]


def _same(one: Any, other: Any) -> bool:
    """The same JSON: to Python `1`, `1.0` and `true` are equal, to a config they are not."""
    return msgspec.json.encode(one, order="deterministic") == msgspec.json.encode(other, order="deterministic")


def decide_activate(state: State) -> list[Event]:
    _alive(state)
    if state.status is WorkflowStatus.ACTIVE:
        raise _illegal(state, "activated")
    return [events.WorkflowActivated(**_facts(state, WorkflowStatus.ACTIVE))]


def decide_deactivate(state: State) -> list[Event]:
    _alive(state)
    if state.status is not WorkflowStatus.ACTIVE:
        raise _illegal(state, "deactivated")
    return [events.WorkflowDeactivated(**_facts(state, WorkflowStatus.INACTIVE))]


def decide_archive(state: State) -> list[Event]:
    _alive(state)
    if state.status is WorkflowStatus.ARCHIVED:
        raise _illegal(state, "archived")
    return [events.WorkflowArchived(**_facts(state, WorkflowStatus.ARCHIVED))]


def decide_delete(state: State) -> list[Event]:
    _alive(state)
    return [events.WorkflowDeleted(**_facts(state, WorkflowStatus.DELETED))]


def require_runnable(state: State) -> None:
    """Draft and active workflows run; raises `ResourceConflict` for the others."""
    _alive(state)
    if state.status not in (WorkflowStatus.DRAFT, WorkflowStatus.ACTIVE):
        raise _illegal(state, "executed; activate it first")


def _alive(state: State) -> None:
    if state.status in (None, WorkflowStatus.DELETED):
        raise NotFound("workflow", state.id)


def _illegal(state: State, what: str) -> ResourceConflict:
    return ResourceConflict(
        f"the workflow is {state.status} and cannot be {what}", "status", current_status=str(state.status)
    )


def _facts(state: State, status: WorkflowStatus) -> dict[str, Any]:
    return {"name": state.name, "status": status, "workflow_version": state.version}


class WorkflowSummary(Struct, frozen=True, kw_only=True):
    """A workflow as lists show it."""

    id: str
    name: str
    description: str | None
    status: str
    category: str | None
    tags: tuple[str, ...]
    version: int
    priority: int
    component_count: int
    created_by: str
    created_at: Instant
    updated_at: Instant


class WorkflowView(WorkflowSummary, frozen=True, kw_only=True):
    """A workflow as clients see it. `version` counts its definitions. A definition has the form that was sent; of a
    graph, what is null is left out."""

    definition: dict[str, Any]


class WorkflowRow(Row, frozen=True, kw_only=True):
    table: ClassVar[str] = "workflows"
    id: str
    organization_id: str
    name: str
    status: str
    category: str | None
    tags: str
    search: str
    template_id: str | None = None
    created_by: str
    created_at: Instant
    updated_at: Instant
    version: int
    document: bytes


def view(state: State) -> WorkflowView:
    return WorkflowView(
        id=state.id,
        name=state.name,
        description=state.description,
        definition=shown(state.definition, state.written),
        status=str(state.status),
        category=state.category,
        tags=state.tags,
        version=state.version,
        priority=state.priority,
        component_count=len(state.definition.components),
        created_by=state.created_by,
        created_at=state.created_at,
        updated_at=state.updated_at,
    )


def shown(definition: Definition, written: dict[str, Any] | None = None) -> dict[str, Any]:
    """The definition as JSON, its credentials hidden: as it was written, else the graph without the optional fields
    that nobody set."""
    encoded = msgspec.json.encode(whole(definition) if written is None else written)
    hidden: dict[str, Any] = msgspec.json.decode(redact_json(encoded))
    return hidden


def whole(definition: Definition) -> dict[str, Any]:
    """The graph as JSON, with what is sealed in it."""
    raw: dict[str, Any] = msgspec.to_builtins(definition)
    raw["components"] = [_set_fields(component) for component in raw["components"]]
    raw["connections"] = [_set_fields(connection) for connection in raw["connections"]]
    return _set_fields(raw)


def _set_fields(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def rows(before: State, after: State) -> Sequence[Row]:
    return (
        WorkflowRow(
            id=after.id,
            organization_id=after.organization_id,
            name=after.name,
            status=str(after.status),
            category=after.category,
            tags=msgspec.json.encode(after.tags).decode(),
            search=f"{after.name}\n{after.description or ''}".lower(),
            template_id=after.template_id,
            created_by=after.created_by,
            created_at=after.created_at,
            updated_at=after.updated_at,
            version=after.stream_version,
            document=msgspec.json.encode(view(after)),
        ),
    )


def names(state: State) -> tuple[str, ...]:
    """The name is unique in its organization until the workflow is deleted."""
    is_held = state.status not in (None, WorkflowStatus.DELETED)
    return (f"workflow:{state.organization_id}:{state.name}",) if is_held else ()


AGGREGATE: Aggregate[State] = Aggregate(
    prefix="workflow", initial=initial, evolve=evolve, rows=rows, names=names, kinds=(WorkflowRow,)
)
