"""A template: its fold, its decider, its row.

One that is shipped is no stream: it is the same for everybody, and cannot change. What an organization thinks of it
is a stream of the organization's, which begins with its first rating.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec
from msgspec import Struct, structs

from executor.domain.aggregate import Aggregate, Row
from executor.domain.errors import NotFound, ResourceConflict
from executor.domain.events import Event, Fact
from executor.domain.events import template as events
from executor.domain.events.template import Template
from executor.domain.values import Instant


class State(Struct, frozen=True, kw_only=True):
    """`template_id` is what clients call it; a shipped one has no `template` here. `ratings` are by actor."""

    id: str = ""
    organization_id: str = ""
    template_id: str = ""
    template: Template | None = None
    ratings: dict[str, int] = {}
    created_by: str | None = None
    created_at: Instant = Instant("")
    updated_at: Instant = Instant("")
    is_deleted: bool = False
    version: int = 0


class Kept(Struct, frozen=True, kw_only=True):
    """What the row's document holds. `rating` is the mean, 0 where nobody rated."""

    template: Template | None
    rating: float
    rating_count: int
    created_by: str | None
    created_at: Instant
    updated_at: Instant


class TemplateRow(Row, frozen=True, kw_only=True):
    table: ClassVar[str] = "templates"
    id: str
    organization_id: str
    template_id: str
    deleted: int
    created_at: Instant
    version: int
    document: bytes


def evolve(state: State, facts: Sequence[Fact]) -> State:
    for event, stamp in facts:
        if not state.version:
            state = structs.replace(
                state,
                id=stamp.id,
                organization_id=stamp.organization_id,
                template_id=stamp.id,
                created_at=stamp.time,
            )
        match event:
            case events.TemplateCreated():
                state = structs.replace(state, template=event.template, created_by=stamp.actor.rpartition(":")[2])
            case events.TemplateRated():
                ratings = state.ratings | {stamp.actor: event.rating}
                state = structs.replace(state, template_id=event.template_id, ratings=ratings)
            case events.TemplateDeleted():
                state = structs.replace(state, is_deleted=True)
            case _:
                raise TypeError(f"a template does not fold {event.type}")
        state = structs.replace(state, updated_at=stamp.time, version=stamp.version)
    return state


def decide_create(state: State, template: Template) -> list[Event]:
    if state.version:
        raise ResourceConflict("the template exists already")
    return [events.TemplateCreated(name=template.name, template=template)]


def decide_rate(state: State, template_id: str, name: str, rating: int, actor: str) -> list[Event]:
    """Nothing where the actor thinks as before."""
    _alive(state, template_id)
    if state.ratings.get(actor) == rating:
        return []
    return [events.TemplateRated(template_id=template_id, name=name, rating=rating)]


def decide_delete(state: State) -> list[Event]:
    _alive(state, state.id)
    if state.template is None:
        raise NotFound("template", state.id)
    return [events.TemplateDeleted(name=state.template.name)]


def _alive(state: State, id: str) -> None:
    if state.is_deleted:
        raise NotFound("template", id)


def kept(state: State) -> Kept:
    count = len(state.ratings)
    return Kept(
        template=state.template,
        rating=round(sum(state.ratings.values()) / count, 2) if count else 0.0,
        rating_count=count,
        created_by=state.created_by,
        created_at=state.created_at,
        updated_at=state.updated_at,
    )


def rows(before: State, after: State) -> Sequence[Row]:
    return (
        TemplateRow(
            id=after.id,
            organization_id=after.organization_id,
            template_id=after.template_id,
            deleted=after.is_deleted,
            created_at=after.created_at,
            version=after.version,
            document=msgspec.json.encode(kept(after)),
        ),
    )


def names(state: State) -> tuple[str, ...]:
    """The name is unique in its organization until the template is deleted."""
    if state.template is None or state.is_deleted:
        return ()
    return (f"template:{state.organization_id}:{state.template.name}",)


AGGREGATE: Aggregate[State] = Aggregate(
    prefix="template", initial=State, evolve=evolve, rows=rows, names=names, kinds=(TemplateRow,)
)
