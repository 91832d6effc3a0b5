"""The templates of an organization: its own, and those that are shipped, with its own opinion of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from executor.components.registry import Registry
from executor.definitions.filling import given_problems, sample, schema_of, value_problems
from executor.definitions.validate import examine
from executor.domain.errors import Code, Invalid, NotFound, Problem
from executor.domain.events.template import Template
from executor.domain.secrets import redact
from executor.domain.template import Kept, TemplateRow
from executor.domain.values import Instant, derived_id, is_ulid
from executor.domain.workflow import WorkflowRow
from executor.ports import Eq, Order, Reads, RowQuery
from executor.shapes import compiled
from hub.templates import Shipped, shipped

MOST_TEMPLATES = 200
"""Of an organization's own. Lists are sorted in memory: by what no column says."""
MOST_BYTES = 256 * 1024


class TemplateSummary(Struct, frozen=True, kw_only=True):
    """A template as lists show it. `rating` is the mean, 0 where nobody rated; `usage_count` is how many workflows
    the organization made from it."""

    id: str
    name: str
    description: str | None
    category: str | None
    tags: tuple[str, ...]
    author: str | None
    version: str
    complexity_level: str
    estimated_setup_time_minutes: int | None
    usage_count: int
    rating: float
    rating_count: int
    is_shipped: bool
    created_by: str | None
    created_at: Instant
    updated_at: Instant


class TemplateView(TemplateSummary, frozen=True, kw_only=True):
    workflow_definition: Any
    parameters: Any


class Entry(Struct, frozen=True, kw_only=True):
    """A template and what the organization thinks of it. `stream` is the id of that, which need not be there yet."""

    id: str
    stream: str
    template: Template
    kept: Kept
    is_shipped: bool

    def shown(self, usage_count: int, kind: type[TemplateSummary] = TemplateSummary) -> TemplateSummary:
        fields = msgspec.structs.asdict(self.template) | msgspec.structs.asdict(self.kept)
        fields |= {"id": self.id, "is_shipped": self.is_shipped, "usage_count": usage_count}
        fields["workflow_definition"] = redact(self.template.workflow_definition)
        return kind(**{name: fields[name] for name in kind.__struct_fields__})


async def entries(reads: Reads, organization_id: str) -> list[Entry]:
    """All of an organization's, the newest first, then those that are shipped."""
    found = {row.template_id: row for row in await _rows(reads, organization_id)}
    own = [_own(row) for row in found.values() if row.id == row.template_id]
    return own + [_shipped(each, found.get(each.id), organization_id) for each in shipped().values()]


async def entry(reads: Reads, id: str, organization_id: str) -> Entry:
    """Raises `NotFound`."""
    file = shipped().get(id)
    stream = id if file is None else stream_of(file.id, organization_id)
    row = await reads.get(TemplateRow, stream) if is_ulid(id) else None
    if row is not None and (row.organization_id != organization_id or row.deleted):
        row = None
    if file is not None:
        return _shipped(file, row, organization_id)
    if row is None or row.template_id != id:
        raise NotFound("template", id)
    return _own(row)


async def usage_count(reads: Reads, id: str, organization_id: str) -> int:
    return await reads.count(WorkflowRow, (Eq("organization_id", organization_id), Eq("template_id", id)))


def stream_of(shipped_id: str, organization_id: str) -> str:
    """Where an organization's ratings of a shipped template are."""
    return derived_id(shipped_id, "template", organization_id)


async def _rows(reads: Reads, organization_id: str) -> Sequence[TemplateRow]:
    where = (Eq("organization_id", organization_id), Eq("deleted", 0))
    most = MOST_TEMPLATES + len(shipped())
    return await reads.find(TemplateRow, RowQuery(where=where, order=(Order("id", True),), limit=2 * most))


def _own(row: TemplateRow) -> Entry:
    kept = msgspec.json.decode(row.document, type=Kept)
    assert kept.template is not None
    return Entry(id=row.template_id, stream=row.id, template=kept.template, kept=kept, is_shipped=False)


def _shipped(file: Shipped, row: TemplateRow | None, organization_id: str) -> Entry:
    at = file.created_at
    kept = Kept(template=None, rating=0.0, rating_count=0, created_by=None, created_at=at, updated_at=at)
    if row is not None:
        rated = msgspec.json.decode(row.document, type=Kept)
        kept = msgspec.structs.replace(kept, rating=rated.rating, rating_count=rated.rating_count)
    stream = stream_of(file.id, organization_id)
    return Entry(id=file.id, stream=stream, template=file.template, kept=kept, is_shipped=True)


def check(template: Template, registry: Registry) -> None:
    """Raises `Invalid` with all that is wrong with a template: parameters that contradict themselves, and a
    definition that no values would make a workflow."""
    if problems := problems_of_template(template, registry):
        raise Invalid(problems)


def problems_of_template(template: Template, registry: Registry) -> list[Problem]:
    problems = _parameter_problems(template)
    if len(msgspec.json.encode(template.workflow_definition)) > MOST_BYTES:
        wrong = f"the definition of a template is at most {MOST_BYTES} bytes"
        return [*problems, _wrong(wrong, "workflow_definition")]
    if problems:
        return problems
    return examine(sample(template), registry, "workflow_definition")[1].problems()


def _parameter_problems(template: Template) -> list[Problem]:
    problems: list[Problem] = []
    seen: set[str] = set()
    declared = _declared(template.workflow_definition)
    for index, each in enumerate(template.parameters):
        field = f"parameters[{index}]"
        if each.name in seen:
            problems.append(_wrong(f"the parameter '{each.name}' is there twice", f"{field}.name"))
        if each.name in declared:
            wrong = (
                f"'{each.name}' is a parameter of the workflow itself; a parameter of the template needs another name"
            )
            problems.append(_wrong(wrong, f"{field}.name"))
        seen.add(each.name)
        try:
            compiled(schema_of(each))
        except ValueError:
            problems.append(_wrong("the pattern is not a regular expression", f"{field}.validation_rules.pattern"))
            continue
        if each.default_value is not msgspec.UNSET and each.default_value is not None:
            problems += value_problems(each, each.default_value, f"{field}.default_value")
    return problems


def _declared(definition: dict[str, Any]) -> set[str]:
    """The names of the parameters that the workflow will have."""
    parameters, schema = definition.get("parameters"), definition.get("parameter_schema")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    names = set(properties) if isinstance(properties, dict) else set()
    for each in parameters if isinstance(parameters, list) else ():
        if isinstance(each, dict) and isinstance(each.get("name"), str):
            names.add(each["name"])
    return names


def _wrong(message: str, field: str) -> Problem:
    return Problem(Code.VALIDATION_ERROR, message, field)


def require_values(template: Template, given: dict[str, Any]) -> None:
    """Raises `Invalid` where these values are not what the template's parameters may be."""
    if problems := given_problems(template.parameters, given):
        raise Invalid(problems)
