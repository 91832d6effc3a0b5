"""Versions of a workflow's definition: each change of it made one, and none is ever forgotten."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from executor.domain import workflow
from executor.domain.errors import Code, Invalid, NotFound, Problem
from executor.domain.events.workflow import WorkflowCreated, WorkflowUpdated
from executor.domain.values import Instant
from hub.diff import Change, changes
from hub.envelope import Answer
from hub.lookups import workflow_row
from hub.operation import Call, NoBody, Resource
from hub.queries import NoQuery, Paging, sliced

RESOURCE = Resource("workflows")
Number = Annotated[int, Meta(ge=1, le=2**53)]
_MOST_DIGITS = 15


class Version(Struct, frozen=True, kw_only=True):
    """`definition` has the form that was sent."""

    version: int
    created_at: Instant
    created_by: str
    definition: Any
    component_count: int
    is_current: bool


class Two(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Which versions to compare; without `to` it is the newest."""

    from_: Number | None = None
    to: Number | None = None


class Comparison(Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    from_: int
    to: int
    changes: list[Change]


class _Kept(Struct, frozen=True):
    """A version, and its graph as JSON."""

    shown: Version
    graph: dict[str, Any]


@RESOURCE.route("GET", "/workflows/{id}/versions", needs="workflow.read", query=Paging)
async def versions(call: Call[NoBody, Paging]) -> Answer:
    """List the versions of a workflow's definition, newest first."""
    shown, page = sliced([kept.shown for kept in reversed((await _versions(call)).values())], call.query)
    return Answer(shown, page=page)


@RESOURCE.route("GET", "/workflows/{id}/versions/diff", needs="workflow.read", query=Two)
async def diff(call: Call[NoBody, Two]) -> Answer:
    """Compare two versions of a workflow's definition."""
    found = await _versions(call)
    numbers = {"from": call.query.from_, "to": call.query.to or max(found)}
    problems = [
        Problem(Code.VALIDATION_ERROR, f"{field}: say a version from 1 to {max(found)}", field)
        for field, number in numbers.items()
        if number not in found
    ]
    if problems:
        raise Invalid(problems)
    one, other = (found[number] for number in numbers.values() if number is not None)
    before, after = one.shown.definition, other.shown.definition
    if _form(before) != _form(after):
        before, after = one.graph, other.graph
    between = list(changes({"definition": before}, {"definition": after}))
    return Answer(Comparison(from_=one.shown.version, to=other.shown.version, changes=between))


@RESOURCE.route("GET", "/workflows/{id}/versions/{version}", needs="workflow.read")
async def get(call: Call[NoBody, NoQuery]) -> Answer:
    """Get one version of a workflow's definition."""
    found, text = await _versions(call), call.path["version"]
    is_number = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    if not is_number or int(text) not in found:
        raise NotFound("version", text)
    return Answer(found[int(text)].shown)


def _form(definition: dict[str, Any]) -> tuple[bool, bool]:
    """Two definitions of one form have this in common."""
    return "components" in definition, "blocks" in definition


async def _versions(call: Call[Any, Any]) -> dict[int, _Kept]:
    """Every version by its number, from the first on."""
    row = await workflow_row(call.hub.store.reads, call.path["id"], call.organization_id)
    found: dict[int, _Kept] = {}
    for recorded in await call.hub.store.log.stream(f"workflow:{row.id}"):
        if recorded.type not in (WorkflowCreated.type, WorkflowUpdated.type):
            continue
        event = msgspec.json.decode(recorded.data, type=WorkflowCreated)
        if event.workflow_version not in found:
            shown = Version(
                version=event.workflow_version,
                created_at=recorded.time,
                created_by=recorded.metadata.actor.rpartition(":")[2],
                definition=workflow.shown(event.definition, event.written),
                component_count=len(event.definition.components),
                is_current=False,
            )
            found[event.workflow_version] = _Kept(shown, workflow.shown(event.definition))
    newest = found[max(found)]
    found[max(found)] = msgspec.structs.replace(newest, shown=msgspec.structs.replace(newest.shown, is_current=True))
    return found
