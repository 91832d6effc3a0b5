"""Templates: list, read, add, remove, rate, and make workflows from them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from executor.definitions.filling import filled, parameters_at, values_of
from executor.domain import template as domain
from executor.domain.errors import Code, Invalid, Problem, ResourceConflict
from executor.domain.events.template import Complexity, Template
from executor.handle import Decide, handle
from executor.ports import Appended, NameTaken
from hub import catalog
from hub.catalog import Entry, TemplateView, entries, entry, usage_count
from hub.definitions import sealed_definition
from hub.envelope import Answer
from hub.errors import Forbidden
from hub.operation import Call, NoBody, Resource
from hub.priorities import PriorityValue
from hub.queries import NoQuery, Paging, sliced
from hub.routes.workflows import Category, CreateWorkflow, Description, Name, Tags, create_workflow
from hub.services import Services

RESOURCE = Resource("templates")


class ListTemplates(Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`search` looks in names and descriptions. All `tags` must match."""

    category: str | None = None
    complexity: Complexity | None = None
    search: str | None = None
    tags: Tags = ()
    sort: Literal["name", "rating", "usage_count", "created_at"] = "created_at"
    order: Literal["asc", "desc"] | None = None


class MakeWorkflow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`parameters` are the template's. What is left out is as the template has it."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    parameters: dict[str, Any] = {}
    category: Category | UnsetType | None = UNSET
    tags: Tags | UnsetType = UNSET
    priority: PriorityValue = 5


class Rate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`rating` is 1 to 5."""

    rating: int | UnsetType = UNSET


async def inspect(hub: Services, fields: dict[str, Any]) -> list[Problem]:
    """What is wrong with a definition and its parameters, whose neighbours are wrong too. Without the parameters
    nobody can say."""
    parts = {name: fields[name] for name in ("workflow_definition", "parameters") if name in fields}
    if len(parts) < 2:
        return []
    return catalog.problems_of_template(msgspec.convert({"name": "-"} | parts, Template), hub.registry)


@RESOURCE.route("POST", "/templates", needs="template.write", body=Template, status=201, inspect=inspect)
async def create(call: Call[Template, NoQuery]) -> Answer:
    """Add a template."""
    catalog.check(call.body, call.hub.registry)
    definition, problems = await sealed_definition(
        call.hub, call.organization_id, call.body.workflow_definition, field="workflow_definition"
    )
    if problems:
        raise Invalid(problems)
    template = structs.replace(call.body, workflow_definition=definition)
    own = [each for each in await entries(call.hub.store.reads, call.organization_id) if not each.is_shipped]
    if len(own) >= catalog.MOST_TEMPLATES:
        raise ResourceConflict(f"an organization has at most {catalog.MOST_TEMPLATES} templates; delete one")
    id = call.hub.clock.new_id()
    try:
        await _decided(call, id, lambda state: domain.decide_create(state, template))
    except NameTaken:
        raise ResourceConflict(f"there is a template named '{call.body.name}' already", "name") from None
    return Answer(await _whole(call, id), "Template created")


@RESOURCE.route("GET", "/templates", needs="template.read", query=ListTemplates)
async def list_(call: Call[NoBody, ListTemplates]) -> Answer:
    """List templates, those that are shipped too."""
    query, reads = call.query, call.hub.store.reads
    found = [each for each in await entries(reads, call.organization_id) if _matches(each, query)]
    counts: dict[str, int] = {}
    if query.sort == "usage_count":
        counts = {each.id: await usage_count(reads, each.id, call.organization_id) for each in found}

    def key(each: Entry) -> Any:
        by = {"name": each.template.name.lower(), "rating": each.kept.rating, "usage_count": counts.get(each.id)}
        return by.get(query.sort, each.kept.created_at), each.id

    is_descending = (query.order or ("asc" if query.sort == "name" else "desc")) == "desc"
    page_of, page = sliced(sorted(found, key=key, reverse=is_descending), query)
    shown = [
        each.shown(counts[each.id] if counts else await usage_count(reads, each.id, call.organization_id))
        for each in page_of
    ]
    return Answer(shown, page=page)


def _matches(each: Entry, query: ListTemplates) -> bool:
    template = each.template
    text = f"{template.name}\n{template.description or ''}".lower()
    return (
        (query.category is None or template.category == query.category)
        and (query.complexity is None or template.complexity_level == query.complexity)
        and (query.search is None or query.search.lower() in text)
        and set(query.tags) <= set(template.tags)
    )


@RESOURCE.route("GET", "/templates/{id}", needs="template.read")
async def get(call: Call[NoBody, NoQuery]) -> Answer:
    """Get a template, with its definition and parameters."""
    return Answer(await _whole(call, call.path["id"]))


@RESOURCE.route("DELETE", "/templates/{id}", needs="template.write")
async def delete(call: Call[NoBody, NoQuery]) -> Answer:
    """Delete a template; workflows that were made from it stay."""
    found = await entry(call.hub.store.reads, call.path["id"], call.organization_id)
    if found.is_shipped:
        raise ResourceConflict("the template is shipped with Runcast, and cannot be deleted")
    await _decided(call, found.stream, domain.decide_delete)
    return Answer(None, "Template deleted")


@RESOURCE.route("POST", "/templates/{id}/rate", needs="template.write", body=Rate)
async def rate(call: Call[Rate, NoQuery]) -> Answer:
    """Rate a template; a second rating replaces the caller's first."""
    found = await entry(call.hub.store.reads, call.path["id"], call.organization_id)
    rating = call.body.rating
    if rating is UNSET or not 1 <= rating <= 5:
        said = "rating: say a whole number from 1 to 5"
        raise Invalid([Problem(Code.VALIDATION_ERROR, said, "rating")])
    actor, name = call.metadata.actor, found.template.name
    await _decided(call, found.stream, lambda state: domain.decide_rate(state, found.id, name, rating, actor))
    return Answer(await _whole(call, found.id), "Rating kept")


@RESOURCE.route("POST", "/templates/{id}/create-workflow", needs="workflow.write", body=MakeWorkflow, status=201)
async def make_workflow(call: Call[MakeWorkflow, NoQuery]) -> Answer:
    """Make a workflow: the template's definition, with these parameters filled in."""
    found = await entry(call.hub.store.reads, call.path["id"], call.organization_id)
    if not call.principal.allows("template.read"):
        raise Forbidden("template.read")
    body, template = call.body, found.template
    catalog.require_values(template, body.parameters)
    asked = CreateWorkflow(
        name=template.name if body.name is UNSET else body.name,
        definition=filled(template, values_of(template.parameters, body.parameters)),
        description=template.description if body.description is UNSET else body.description,
        category=template.category if body.category is UNSET else body.category,
        tags=template.tags if body.tags is UNSET else body.tags,
        priority=body.priority,
    )
    try:
        return await create_workflow(call, asked, template_id=found.id)
    except Invalid as invalid:
        raise Invalid([_blamed(template, problem) for problem in invalid.problems]) from None


def _blamed(template: Template, problem: Problem) -> Problem:
    """What is wrong with the definition, told of the parameter whose value is there, if one is."""
    name = parameters_at(template, problem.field, "definition")
    return problem if name is None else structs.replace(problem, field=f"parameters.{name}")


async def _whole(call: Call[Any, Any], id: str) -> Any:
    found = await entry(call.hub.store.reads, id, call.organization_id)
    return found.shown(await usage_count(call.hub.store.reads, found.id, call.organization_id), TemplateView)


async def _decided(call: Call[Any, Any], stream: str, decide: Decide) -> Appended:
    return await handle(
        call.hub.store.log,
        call.hub.clock,
        f"template:{stream}",
        decide,
        organization_id=call.organization_id,
        metadata=call.metadata,
    )
