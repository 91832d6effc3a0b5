"""The catalogue of component types."""

from __future__ import annotations

from typing import Any

from executor.components.base import Component
from executor.domain.errors import NotFound
from hub.envelope import Answer
from hub.operation import Call, NoBody, Resource
from hub.queries import NoQuery, Paging, sliced

RESOURCE = Resource("components")
_ANY_OBJECT: dict[str, Any] = {"type": "object"}


@RESOURCE.route("GET", "/components", needs="workflow.read", query=Paging)
async def list_(call: Call[NoBody, Paging]) -> Answer:
    """List the component types that definitions may use."""
    listed = [_shown(component) for component in call.hub.registry.values()]
    shown, page = sliced(listed, call.query)
    return Answer(shown, page=page)


@RESOURCE.route("GET", "/components/{type}/schema", needs="workflow.read")
async def schema(call: Call[NoBody, NoQuery]) -> Answer:
    """Get the JSON Schema of a component type's config."""
    type = call.path["type"]
    if type not in call.hub.registry:
        raise NotFound("component type", type)
    return Answer(call.hub.registry[type].config_schema)


def _shown(component: Component) -> dict[str, Any]:
    return {
        "type": component.type,
        "name": component.name,
        "description": component.description,
        "category": component.category,
        "config_schema": component.config_schema,
        "input_schema": _ANY_OBJECT,
        "output_schema": component.output_schema,
    }
