"""The one graph that every written form of a workflow compiles to, and what can be asked of it.

Structs here are the wire shape of `definition` as well: decoding one checks the shape. What the shape cannot say
(cycles, unknown types, references) is checked in `executor/definitions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from executor.domain.values import RetryPolicy

ComponentId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]+$", max_length=128)]
ParameterName = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$", max_length=128)]
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


class Definition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    components: Annotated[tuple[ComponentSpec, ...], Meta(min_length=1, max_length=20_000)]
    connections: Annotated[tuple[Connection, ...], Meta(max_length=100_000)] = ()
    parameters: Annotated[tuple[Parameter, ...], Meta(max_length=1000)] = ()
    fail_fast: bool = True
    max_execution_time: Seconds | None = None
    queue_timeout: Seconds | None = None


class Graph:
    """The adjacency of a definition, computed once for each run or validation.

    A connection is named by its index in `definition.connections`; that is what events record as `taken`.
    """

    __slots__ = ("_masks", "_numbers", "components", "connections", "definition", "inbound", "incoming", "outgoing")

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
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
