"""Workflows: create, read, change, validate."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from executor.definitions.report import Report
from executor.definitions.validate import examine
from executor.domain import workflow
from executor.domain.errors import Code, Invalid, Problem, ResourceConflict
from executor.domain.events import Event
from executor.domain.execution.rows import ExecutionRow
from executor.domain.values import LIVE_STATUSES, Instant, WorkflowStatus
from executor.domain.workflow import Change, State, WorkflowRow, WorkflowSummary, WorkflowView
from executor.handle import Decide, handle
from executor.ports import Appended, Contains, Eq, ExecutionStats, HasAll, In, NameTaken, Order, RowQuery, Where
from hub.agents.names import agents_named
from hub.auth.principal import Principal
from hub.definitions import compiled
from hub.envelope import Answer
from hub.executions import cancel_if_live
from hub.lookups import workflow_row
from hub.operation import Call, NoBody, Resource
from hub.priorities import PriorityValue, priority_of
from hub.queries import NoQuery, Paging, page_of
from hub.services import Services
from hub.travel import At, Moment, Span, difference, moment_of, workflow_at

RESOURCE = Resource("workflows")
Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S")]
Description = Annotated[str, Meta(max_length=1000)]
Category = Annotated[str, Meta(max_length=255)]
Tag = Annotated[str, Meta(min_length=1, max_length=128)]
Tags = Annotated[tuple[Tag, ...], Meta(max_length=100)]


class CreateWorkflow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Name
    definition: dict[str, Any]
    description: Description | None = None
    category: Category | None = None
    tags: Tags = ()
    priority: PriorityValue = 5


class UpdateWorkflow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fields left out keep their values; `definition` is replaced whole."""

    name: Name | UnsetType = UNSET
    definition: dict[str, Any] | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    category: Category | UnsetType | None = UNSET
    tags: Tags | UnsetType = UNSET
    priority: PriorityValue | UnsetType = UNSET


class ListWorkflows(Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    category: str | None = None
    status: Literal["draft", "active", "inactive", "archived"] | None = None
    search: str | None = None
    tags: Tags = ()
    created_by: str | None = None
    sort: Literal["name", "created_at", "updated_at"] = "created_at"
    order: Literal["asc", "desc"] | None = None


class GetWorkflow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`at`: as of a position of the log, or a time; the stats are always those of now, so it excludes them."""

    at: At | None = None
    include_definition: bool = True
    include_stats: bool = False


class DeleteWorkflow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    force: bool = False


class ValidateWorkflow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without a `definition` the stored one is validated."""

    definition: dict[str, Any] | None = None


class Stats(Struct, frozen=True, kw_only=True):
    """Read from the executions. `success_rate` is 0 to 1 of those that ended; 0 where none did."""

    execution_count: int
    success_rate: float
    last_execution_at: Instant | None


async def inspect(hub: Services, fields: dict[str, Any]) -> list[Problem]:
    """What is wrong with a definition whose neighbours are wrong too."""
    if not isinstance(fields.get("definition"), dict):
        return []
    return examine(fields["definition"], hub.registry)[1].problems()


@RESOURCE.route("POST", "/workflows", needs="workflow.write", body=CreateWorkflow, status=201, inspect=inspect)
async def create(call: Call[CreateWorkflow, NoQuery]) -> Answer:
    """Create a workflow."""
    return await create_workflow(call, call.body)


async def create_workflow(call: Call[Any, Any], body: CreateWorkflow, template_id: str | None = None) -> Answer:
    """A new workflow, shown. Raises `Invalid`, and `ResourceConflict` where its name is taken."""
    from_template = template_id is not None
    id = call.hub.clock.new_id()
    change = Change(
        name=body.name,
        description=body.description,
        **await compiled(call.hub, call.organization_id, body.definition, keeps_sealed=from_template),
        category=body.category,
        tags=body.tags,
        priority=priority_of(body.priority),
    )
    done = await _decided(call, id, lambda state: workflow.decide_create(state, change, template_id), body.name)
    return Answer(_shown(done.state, call.principal), "Workflow created successfully")


@RESOURCE.route("GET", "/workflows", needs="workflow.read", query=ListWorkflows)
async def list_(call: Call[NoBody, ListWorkflows]) -> Answer:
    """List workflows."""
    query, reads = call.query, call.hub.store.reads
    where: list[Where] = [Eq("organization_id", call.organization_id)]
    statuses = [query.status] if query.status else [s for s in WorkflowStatus if s is not WorkflowStatus.DELETED]
    where.append(In("status", tuple(str(status) for status in statuses)))
    where += [
        Eq(column, value)
        for column, value in (("category", query.category), ("created_by", query.created_by))
        if value is not None
    ]
    if query.search:
        where.append(Contains(("search",), query.search.lower()))
    if query.tags:
        where.append(HasAll("tags", query.tags))
    is_descending = (query.order or ("asc" if query.sort == "name" else "desc")) == "desc"
    order = (Order(query.sort, is_descending), Order("id", is_descending))
    rows, page = await page_of(reads, WorkflowRow, where, order, query)
    stats = await reads.execution_stats([row.id for row in rows])
    shown = [
        _merged(msgspec.json.decode(row.document, type=WorkflowSummary), _stats(stats.get(row.id))) for row in rows
    ]
    return Answer(shown, page=page)


@RESOURCE.route("GET", "/workflows/{id}", needs="workflow.read", query=GetWorkflow)
async def get(call: Call[NoBody, GetWorkflow]) -> Answer:
    """Get a workflow, as it is or as it was."""
    row = await _row_at(call, call.query.at, call.query.include_stats)
    shape = WorkflowView if call.query.include_definition else WorkflowSummary
    shown = _merged(msgspec.json.decode(row.document, type=shape), {"permissions": _may(call.principal)})
    if call.query.include_stats:
        stats = await call.hub.store.reads.execution_stats([row.id])
        shown |= msgspec.to_builtins(_stats(stats.get(row.id)))
    return Answer(shown)


async def _row_at(call: Call[Any, Any], at: str | None, with_stats: bool) -> WorkflowRow:
    id, log = call.path["id"], call.hub.store.log
    if at is None:
        return await workflow_row(call.hub.store.reads, id, call.organization_id)
    if with_stats:
        said = "include_stats: stats are those of now, and cannot be had together with 'at'"
        raise Invalid([Problem(Code.VALIDATION_ERROR, said, "include_stats")])
    return await workflow_at(log, id, call.organization_id, await moment_of(log, at, "at", call.now))


@RESOURCE.route("GET", "/workflows/{id}/diff", needs="workflow.read", query=Span)
async def diff(call: Call[NoBody, Span]) -> Answer:
    """Compare a workflow between two positions or times."""

    async def whole(moment: Moment) -> Any:
        row = await workflow_at(call.hub.store.log, call.path["id"], call.organization_id, moment)
        return msgspec.json.decode(row.document)

    return Answer(await difference(call.hub.store.log, call.query, call.now, whole))


@RESOURCE.route("PUT", "/workflows/{id}", needs="workflow.write", body=UpdateWorkflow, inspect=inspect)
async def update(call: Call[UpdateWorkflow, NoQuery]) -> Answer:
    """Change a workflow."""
    body, id = call.body, call.path["id"]
    await workflow_row(call.hub.store.reads, id, call.organization_id)
    name = "" if body.name is UNSET else body.name
    while True:
        former, _ = await call.hub.store.log.load(f"workflow:{id}")
        change = await _change(call, former)
        with contextlib.suppress(_Moved):
            done = await _decided(call, id, partial(_decide_update, former=former, change=change), name)
            return Answer(_shown(done.state, call.principal), "Workflow updated successfully")


class _Moved(Exception):
    """The workflow has another definition than the one whose credentials a change keeps."""


def _decide_update(state: State, former: State, change: Change) -> list[Event]:
    if change.definition is not UNSET and state.version != former.version:
        raise _Moved
    return workflow.decide_update(state, change)


async def _change(call: Call[UpdateWorkflow, NoQuery], former: State) -> Change:
    body, definition = call.body, dict[str, Any]()
    if body.definition is not UNSET:
        definition = await compiled(call.hub, call.organization_id, body.definition, former)
    return Change(
        name=body.name,
        description=body.description,
        **definition,
        category=body.category,
        tags=body.tags,
        priority=UNSET if body.priority is UNSET else priority_of(body.priority),
    )


@RESOURCE.route("DELETE", "/workflows/{id}", needs="workflow.write", query=DeleteWorkflow)
async def delete(call: Call[NoBody, DeleteWorkflow]) -> Answer:
    """Delete a workflow; with live executions only by force, which cancels them."""
    reads, id = call.hub.store.reads, call.path["id"]
    await workflow_row(reads, id, call.organization_id)
    live = (Eq("workflow_id", id), In("status", tuple(str(status) for status in LIVE_STATUSES)))
    count = await reads.count(ExecutionRow, live)
    if count and not call.query.force:
        message = f"the workflow has {count} live execution{'s' * (count != 1)}; end them, or delete with force=true"
        raise ResourceConflict(message, live_executions=count)
    await _decided(call, id, workflow.decide_delete)
    while rows := await reads.find(ExecutionRow, RowQuery(where=live, limit=200)):
        for row in rows:
            await cancel_if_live(call.hub, row, call.principal.id, call.metadata, "the workflow was deleted")
    return Answer(None, "Workflow deleted successfully")


@RESOURCE.route("POST", "/workflows/{id}/validate", needs="workflow.read", body=ValidateWorkflow)
async def validate(call: Call[ValidateWorkflow, NoQuery]) -> Answer:
    """Validate the stored definition of a workflow, or one in the body."""
    row = await workflow_row(call.hub.store.reads, call.path["id"], call.organization_id)
    raw = call.body.definition
    if raw is None:
        raw = msgspec.json.decode(row.document)["definition"]
    agent_named = await agents_named(call.hub.store.reads, call.organization_id, raw)
    report: Report = examine(raw, call.hub.registry, agent_named=agent_named)[1]
    return Answer(report, "The workflow is valid" if report.is_valid else "The workflow is invalid")


@RESOURCE.route("POST", "/workflows/{id}/activate", needs="workflow.write")
async def activate(call: Call[NoBody, NoQuery]) -> Answer:
    """Activate a draft, inactive or archived workflow."""
    return await _move(call, workflow.decide_activate, "Workflow activated")


@RESOURCE.route("POST", "/workflows/{id}/deactivate", needs="workflow.write")
async def deactivate(call: Call[NoBody, NoQuery]) -> Answer:
    """Deactivate an active workflow: it runs no more until it is activated."""
    return await _move(call, workflow.decide_deactivate, "Workflow deactivated")


@RESOURCE.route("POST", "/workflows/{id}/archive", needs="workflow.write")
async def archive(call: Call[NoBody, NoQuery]) -> Answer:
    """Archive a workflow: it can neither run nor change until it is activated."""
    return await _move(call, workflow.decide_archive, "Workflow archived")


async def _move(call: Call[NoBody, NoQuery], decide: Decide, message: str) -> Answer:
    await workflow_row(call.hub.store.reads, call.path["id"], call.organization_id)
    done = await _decided(call, call.path["id"], decide)
    return Answer(_shown(done.state, call.principal), message)


async def _decided(call: Call[Any, Any], id: str, decide: Decide, name: str = "") -> Appended:
    try:
        return await handle(
            call.hub.store.log,
            call.hub.clock,
            f"workflow:{id}",
            decide,
            organization_id=call.organization_id,
            workflow_id=id,
            metadata=call.metadata,
        )
    except NameTaken:
        raise ResourceConflict(f"there is a workflow named '{name}' already", "name") from None


def _shown(state: State, principal: Principal) -> dict[str, Any]:
    return _merged(workflow.view(state), {"permissions": _may(principal)})


def _merged(*parts: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in parts:
        merged |= msgspec.to_builtins(part)
    return merged


def _may(principal: Principal) -> dict[str, bool]:
    """What the caller may do with a workflow of its organization."""
    may_write = principal.allows("workflow.write")
    return {
        "can_edit": may_write,
        "can_execute": principal.allows("workflow.execute"),
        "can_delete": may_write,
        "can_share": False,
    }


def _stats(stats: ExecutionStats | None) -> Stats:
    if stats is None:
        return Stats(execution_count=0, success_rate=0.0, last_execution_at=None)
    return Stats(
        execution_count=stats.total,
        success_rate=round(stats.succeeded / stats.ended, 4) if stats.ended else 0.0,
        last_execution_at=stats.last_created_at,
    )
