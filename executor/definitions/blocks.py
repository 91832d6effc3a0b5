"""The form `blocks` + `connections` with a `parameter_schema`: web automation as other systems write it.

Without connections the blocks run one after another. What a block's parameters become is in `block_types.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from executor.definitions.block_types import Made, made, neighbours
from executor.definitions.forms import OF_THE_WHOLE, Whole, Written, free_id, whole_of
from executor.definitions.parameter_schema import ParameterSchema, parameters_of
from executor.definitions.report import Finding
from executor.domain.definition import ComponentId, Connection, ConnectionType, Seconds
from executor.domain.values import RetryPolicy
from executor.shapes import Shape


class Block(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: ComponentId
    type: Annotated[str, Meta(min_length=1, max_length=128)]
    parameters: dict[str, Any] = {}
    name: Annotated[str, Meta(max_length=255)] | None = None
    position: dict[str, float] | None = None
    retry: RetryPolicy | None = None
    timeout_seconds: Seconds | None = None


class Blocks(Whole, frozen=True, kw_only=True, forbid_unknown_fields=True):
    blocks: Annotated[tuple[Block, ...], Meta(min_length=1, max_length=20_000)]
    connections: Annotated[tuple[Connection, ...], Meta(max_length=100_000)] = ()
    parameter_schema: ParameterSchema | None = None


class _Body(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a loop goes through."""

    loop_blocks: Annotated[tuple[Block, ...], Meta(min_length=1, max_length=20_000)]
    loop_connections: Annotated[tuple[Connection, ...], Meta(max_length=100_000)] = ()


class _Part(Struct, frozen=True):
    """A graph's components and connections; `places` and findings are relative to where the blocks were written."""

    graph: dict[str, Any]
    places: dict[str, str]
    findings: list[Finding]


_SHAPE = Shape(Blocks)
_BODY = Shape(_Body)


def compile_blocks(raw: Any, prefix: str) -> Written:
    """Raises `Invalid` for a wrong shape."""
    written = _SHAPE.parse(raw, prefix)
    part = _compiled(written.blocks, written.connections, ("blocks", "connections"), prefix)
    parameters, doubts = parameters_of(written.parameter_schema, f"{prefix}.parameter_schema")
    graph = (
        part.graph
        | {
            "parameters": parameters,
        }
        | whole_of(written)
    )
    places = part.places | dict(zip(OF_THE_WHOLE, OF_THE_WHOLE, strict=True))
    places["parameters"] = "parameter_schema"
    for index, parameter in enumerate(parameters):
        at = f"parameters[{index}]"
        places[at] = f"parameter_schema.properties.{parameter['name']}"
        places[f"{at}.default_value"] = f"{places[at]}.default"
    return Written(form="blocks", graph=graph, places=places, findings=(*part.findings, *doubts))


def _compiled(
    blocks: tuple[Block, ...], connections: tuple[Connection, ...], names: tuple[str, str], prefix: str
) -> _Part:
    ids = {block.id for block in blocks}
    start = free_id("start", ids)
    part = _Part(
        {"components": [{"id": start, "type": "start"}], "connections": []},
        {"components": names[0], "components[0]": names[0], "connections": names[1] if connections else names[0]},
        [],
    )
    kinds = {block.id: block.type for block in blocks}
    _connect(part, connections or _chain(blocks), names[1] if connections else None, kinds)
    led_to = {connection["target"] for connection in part.graph["connections"]}
    for block in blocks:
        if block.id not in led_to:
            part.graph["connections"].append({"source": start, "target": block.id})
    near = neighbours({block.id: (block.type, block.parameters) for block in blocks}, part.graph["connections"])
    for index, block in enumerate(blocks):
        _add(part, block, made(block.id, block.type, block.parameters, near), f"{names[0]}[{index}]", prefix)
    return part


def _chain(blocks: Iterable[Block]) -> tuple[Connection, ...]:
    return tuple(Connection(source=one.id, target=other.id) for one, other in pairwise(blocks))


def _connect(part: _Part, connections: Iterable[Connection], name: str | None, kinds: dict[str, str]) -> None:
    """A plain connection from a condition is followed where that is true: the form knows no other answer."""
    for index, connection in enumerate(connections):
        fields = msgspec.to_builtins(connection)
        is_plain = connection.type is ConnectionType.SUCCESS and connection.condition is None
        if is_plain and kinds.get(connection.source) == "condition":
            fields |= {"type": ConnectionType.CONDITIONAL.value, "condition": "output.result"}
        if name is not None:
            part.places[f"connections[{len(part.graph['connections'])}]"] = f"{name}[{index}]"
        part.graph["connections"].append(fields)


def _add(part: _Part, block: Block, made: Made, place: str, prefix: str) -> None:
    at = f"components[{len(part.graph['components'])}]"
    part.places.update({at: place, f"{at}.config": f"{place}.parameters"})
    part.places.update({f"{at}.config.{path}": f"{place}.parameters.{name}" for path, name in made.places.items()})
    part.findings.extend(finding(f"{prefix}.{place}") for finding in made.findings)
    config = made.config
    if made.has_body:
        body = _body(part, block, f"{at}.config.body", f"{place}.parameters", prefix)
        config = config | ({} if body is None else {"body": body})
    part.graph["components"].append(
        {
            "id": block.id,
            "type": made.type,
            "name": block.name,
            "config": config,
            "position": block.position,
            "retry": None if block.retry is None else msgspec.to_builtins(block.retry),
            "timeout_seconds": block.timeout_seconds,
        }
    )


def _body(part: _Part, block: Block, at: str, place: str, prefix: str) -> dict[str, Any] | None:
    """The definition that a loop runs for each item. Raises `Invalid` for a wrong shape."""
    fields = {name: block.parameters[name] for name in _Body.__struct_fields__ if name in block.parameters}
    if "loop_blocks" not in fields:
        return None
    written = _BODY.parse(fields, f"{prefix}.{place}")
    names = (f"{place}.loop_blocks", f"{place}.loop_connections")
    inner = _compiled(written.loop_blocks, written.loop_connections, names, prefix)
    part.places.update({at: f"{place}.loop_blocks"} | {f"{at}.{path}": to for path, to in inner.places.items()})
    part.findings.extend(inner.findings)
    body: dict[str, Any] = {
        "components": [
            {name: value for name, value in each.items() if value is not None} for each in inner.graph["components"]
        ],
        "connections": inner.graph["connections"],
    }
    return body
