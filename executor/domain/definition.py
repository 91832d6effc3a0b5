"""The one graph that every written form of a workflow compiles to, and what can be asked of it.

Structs here are the wire shape of `definition` as well: decoding one checks the shape. What the shape cannot say
(cycles, unknown types, references) is checked in `executor/definitions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, structs

from executor.domain.values import RetryPolicy

ComponentId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]+$", max_length=128)]
ParameterName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$", max_length=128)]
LOOP, START = "loop", "start"
"""The types that the graph itself knows."""
Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]


class ConnectionType(StrEnum):
    SUCCESS = "success"
    ERROR = "error"
    CONDITIONAL = "conditional"


class ParameterType(StrEnum):
    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    OBJECT = "object"
    ARRAY = "array"
    ANY = "any"


class ComponentSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: ComponentId
    type: Annotated[str, Meta(min_length=1, max_length=128)]
    name: Annotated[str, Meta(max_length=255)] | None = None
    config: dict[str, Any] = {}
    position: dict[str, float] | None = None
    retry: RetryPolicy | None = None
    timeout_seconds: Seconds | None = None


class Connection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    source: str
    target: str
    type: ConnectionType = ConnectionType.SUCCESS
    condition: Annotated[str, Meta(max_length=4096)] | None = None


class Parameter(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    name: ParameterName
    type: ParameterType = ParameterType.ANY
    required: bool = False
    default_value: Any | UnsetType = UNSET
    description: Annotated[str, Meta(max_length=1000)] | None = None
    secret: bool = False


class Concurrency(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most `limit` runs of the workflow with the same key at once; the others wait in the queue. `key` may hold
    references to parameters; where it comes to null or nothing, there is no limit."""

    key: Annotated[str, Meta(min_length=1, max_length=1024)]
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1


class Definition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    components: Annotated[tuple[ComponentSpec, ...], Meta(min_length=1, max_length=20_000)]
    connections: Annotated[tuple[Connection, ...], Meta(max_length=100_000)] = ()
    parameters: Annotated[tuple[Parameter, ...], Meta(max_length=1000)] = ()
    fail_fast: bool = True
    max_execution_time: Seconds | None = None
    queue_timeout: Seconds | None = None
    concurrency: Concurrency | None = None


def body_of(spec: ComponentSpec) -> Definition | None:
    """What a loop runs in each iteration; None where that has not the shape of a definition."""
    try:
        return msgspec.convert(spec.config.get("body"), Definition)
    except msgspec.ValidationError:
        return None


def own_config(spec: ComponentSpec) -> dict[str, Any]:
    """The config without a loop's body, whose references are resolved where they stand."""
    if spec.type != LOOP:
        return spec.config
    return {name: value for name, value in spec.config.items() if name != "body"}


def _names(definition: Definition, loop: str, above: Graph | None) -> dict[str, str]:
    known = {} if above is None else above.home
    return {spec.id: f"{loop}.{spec.id}" if spec.id in known else spec.id for spec in definition.components}


def _renamed(definition: Definition, names: dict[str, str]) -> Definition:
    if all(name == id for name, id in names.items()):
        return definition
    return structs.replace(
        definition,
        components=tuple(structs.replace(spec, id=names[spec.id]) for spec in definition.components),
        connections=tuple(
            structs.replace(
                each, source=names.get(each.source, each.source), target=names.get(each.target, each.target)
            )
            for each in definition.connections
        ),
    )


class Graph:
    """The adjacency of a definition, computed once for each run or validation.

    A connection is named by its index in `definition.connections`; that is what events record as `taken`. The bodies
    of loops are graphs of their own, with the one around them `above`; `depth` counts the loops around.

    `home` has the graph of each component, in bodies too. An id that a body shares with what was there before it is
    known everywhere as `loop.id`; `names` leads from the ids as written to those that are known.
    """

    __slots__ = (
        "_masks",
        "_numbers",
        "above",
        "bodies",
        "components",
        "connections",
        "definition",
        "depth",
        "home",
        "inbound",
        "incoming",
        "loop",
        "names",
        "outgoing",
    )

    def __init__(self, definition: Definition, loop: str = "", above: Graph | None = None) -> None:
        self.names = _names(definition, loop, above)
        definition = definition if above is None else _renamed(definition, self.names)
        self.definition = definition
        self.loop, self.above = loop, above
        self.depth: int = 0 if above is None else above.depth + 1
        self.connections = definition.connections
        self.components: dict[str, ComponentSpec] = {spec.id: spec for spec in definition.components}
        self._masks: dict[str, int] | None = None
        self._numbers: dict[str, int] = {}
        self.outgoing: dict[str, list[int]] = {id: [] for id in self.components}
        self.incoming: dict[str, list[int]] = {id: [] for id in self.components}
        for index, connection in enumerate(definition.connections):
            if connection.source in self.outgoing and connection.target in self.incoming:
                self.outgoing[connection.source].append(index)
                self.incoming[connection.target].append(index)
        self.inbound: dict[str, int] = {id: len(indices) for id, indices in self.incoming.items()}
        self.home: dict[str, Graph] = {} if above is None else above.home
        self.home.update(dict.fromkeys(self.components, self))
        self.bodies: dict[str, Graph] = {}
        for spec in definition.components:
            if spec.type == LOOP and (body := body_of(spec)) is not None:
                self.bodies[spec.id] = Graph(body, spec.id, self)

    @property
    def top(self) -> Graph:
        """The graph that is in no loop."""
        return self if self.above is None else self.above.top

    def named(self, name: str) -> str | None:
        """The id of the component that is called so here: in this graph, else in one around it."""
        if name in self.names or self.above is None:
            return self.names.get(name)
        return self.above.named(name)

    def spec(self, id: str) -> ComponentSpec:
        """Of a component here or in a body."""
        return self.home[id].components[id]

    @property
    def has_start(self) -> bool:
        return any(spec.type == START for spec in self.definition.components)

    @property
    def begins_with(self) -> list[str]:
        """The start; where a body has none, everything that nothing leads to."""
        roots = self.roots
        if self.above is not None and not self.has_start:
            return roots
        return [id for id in roots if self.components[id].type == START]

    @property
    def roots(self) -> list[str]:
        """Components that nothing leads to, in the order of the definition."""
        return [id for id, count in self.inbound.items() if count == 0]

    def targets(self, source: str) -> Iterator[str]:
        for index in self.outgoing[source]:
            yield self.connections[index].target

    def sources(self, target: str) -> Iterator[str]:
        for index in self.incoming[target]:
            yield self.connections[index].source

    def descendants(self, *sources: str) -> set[str]:
        """Everything that can be reached from the sources, without the sources (unless on a cycle)."""
        found: set[str] = set()
        waiting = list(sources)
        while waiting:
            for target in self.targets(waiting.pop()):
                if target not in found:
                    found.add(target)
                    waiting.append(target)
        return found

    def is_ancestor(self, source: str, target: str) -> bool:
        """Does `source` come before `target`? On a cycle everything does."""
        masks = self._ancestor_masks()
        return target not in masks or bool(masks[target] >> self._numbers[source] & 1)

    def _ancestor_masks(self) -> dict[str, int]:
        """For each component that is not on or behind a cycle: its ancestors, a bit each."""
        if self._masks is None:
            self._numbers = {id: number for number, id in enumerate(self.components)}
            self._masks = {}
            left, behind = dict(self.inbound), dict.fromkeys(self.components, 0)
            free = self.roots
            while free:
                source = free.pop()
                self._masks[source] = behind[source]
                for target in self.targets(source):
                    behind[target] |= behind[source] | 1 << self._numbers[source]
                    left[target] -= 1
                    if left[target] == 0:
                        free.append(target)
        return self._masks
