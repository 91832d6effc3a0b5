"""Is this definition a workflow that can run? Every answer at once: shape first, then the graph, then the configs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from msgspec import UNSET

from executor.components.registry import Registry
from executor.definitions.configs import config_findings, connection_findings
from executor.definitions.parameters import fits
from executor.definitions.report import Finding, Report, Severity, error, report
from executor.domain.definition import Definition, Graph
from executor.domain.errors import Code, Invalid
from executor.domain.values import DEEPEST, is_deep
from executor.shapes import Shape

_SHAPE = Shape(Definition)


def compile_definition(raw: Any, registry: Registry, prefix: str = "definition") -> Definition:
    """The definition of a valid raw one. Raises `Invalid` with every error."""
    definition, answer = examine(raw, registry, prefix)
    if definition is None or not answer.is_valid:
        raise Invalid(answer.problems(), "the workflow definition is invalid")
    return definition


def examine(raw: Any, registry: Registry, prefix: str = "definition") -> tuple[Definition | None, Report]:
    """What there is to say about a raw definition; the definition itself is None where its shape is wrong."""
    if is_deep(raw):
        message = f"{prefix} is nested more than {DEEPEST} levels deep"
        return None, report(
            [Finding(code=Code.VALIDATION_ERROR, severity=Severity.ERROR, message=message, field=prefix)]
        )
    try:
        definition = _SHAPE.parse(raw, prefix)
    except Invalid as invalid:
        return None, report(
            Finding(
                code=problem.code,
                severity=Severity.ERROR,
                message=problem.message,
                field=problem.field,
                component_id=_component_at(raw, problem.field, prefix),
            )
            for problem in invalid.problems
        )
    return definition, report(_findings(definition, registry, prefix))


def _component_at(raw: Any, field: str | None, prefix: str) -> str | None:
    head = f"{prefix}.components["
    if not field or not field.startswith(head) or not isinstance(raw, dict):
        return None
    index = field[len(head) :].partition("]")[0]
    try:
        id = raw["components"][int(index)]["id"]
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return id if isinstance(id, str) else None


def _findings(definition: Definition, registry: Registry, prefix: str) -> Iterator[Finding]:
    graph = Graph(definition)
    yield from _identities(definition, prefix)
    yield from _starts(definition, graph, prefix)
    yield from connection_findings(definition, graph, prefix)
    yield from _cycles(graph, prefix)
    yield from _reach(definition, graph, prefix)
    yield from config_findings(definition, graph, registry, prefix)
    yield _count(definition)


def _identities(definition: Definition, prefix: str) -> Iterator[Finding]:
    seen: Counter[str] = Counter()
    for index, spec in enumerate(definition.components):
        seen[spec.id] += 1
        if seen[spec.id] == 2:
            field = f"{prefix}.components[{index}].id"
            yield error("REPEATED_ID", f"the id '{spec.id}' is used more than once", field, spec.id)
    names: Counter[str] = Counter()
    for index, parameter in enumerate(definition.parameters):
        names[parameter.name] += 1
        field = f"{prefix}.parameters[{index}]"
        if names[parameter.name] == 2:
            yield error("REPEATED_PARAMETER", f"the parameter '{parameter.name}' is declared twice", f"{field}.name")
        if parameter.default_value is not UNSET and not fits(parameter.default_value, parameter.type):
            message = f"the default of '{parameter.name}' must be of type {parameter.type}"
            yield error("DEFAULT_TYPE", message, f"{field}.default_value")
        if parameter.secret and parameter.default_value is not UNSET and parameter.default_value is not None:
            message = f"the secret '{parameter.name}' cannot have a default: a definition is kept in clear"
            yield error("SECRET_DEFAULT", message, f"{field}.default_value")


def _starts(definition: Definition, graph: Graph, prefix: str) -> Iterator[Finding]:
    starts = [(index, spec) for index, spec in enumerate(definition.components) if spec.type == "start"]
    if not starts:
        yield error("NO_START", "there must be exactly one component of type 'start'", f"{prefix}.components")
    for index, spec in starts[1:]:
        message = f"there must be exactly one component of type 'start'; '{spec.id}' is another"
        yield error("SECOND_START", message, f"{prefix}.components[{index}]", spec.id)
    if starts and graph.inbound[starts[0][1].id]:
        index, spec = starts[0]
        message = f"nothing may lead to the start '{spec.id}'"
        yield error("START_HAS_SOURCE", message, f"{prefix}.components[{index}]", spec.id)


def _cycles(graph: Graph, prefix: str) -> Iterator[Finding]:
    """One finding for each knot of components that all lead to each other, with a cycle of it."""
    for knot in _knots(graph):
        cycle = _one_cycle(graph, knot)
        shown = " → ".join([*cycle, cycle[0]])
        yield error("CYCLE", f"the connections form a cycle: {shown}", f"{prefix}.connections", cycle[0])


def _knots(graph: Graph) -> Iterator[set[str]]:
    """The strongly connected components of more than one member (Kosaraju's algorithm, without recursion)."""
    order: dict[str, None] = {}
    for root in graph.components:
        path = [(root, graph.targets(root))] if root not in order else []
        entered = {root}
        while path:
            source, targets = path[-1]
            fresh = next((id for id in targets if id not in order and id not in entered), None)
            if fresh is None:
                order[source] = None
                path.pop()
            else:
                entered.add(fresh)
                path.append((fresh, graph.targets(fresh)))
    left = set(order)
    for root in reversed(order):
        knot, waiting = set[str](), [root] if root in left else []
        left.discard(root)
        while waiting:
            knot.add(at := waiting.pop())
            sources = {source for source in graph.sources(at) if source in left}
            left -= sources
            waiting += sources
        if len(knot) > 1:
            yield knot


def _one_cycle(graph: Graph, knot: set[str]) -> list[str]:
    """A cycle in a knot: go backwards inside it until one comes again."""
    trail: dict[str, None] = {}
    at = min(knot)
    while at not in trail:
        trail[at] = None
        at = min(source for source in graph.sources(at) if source in knot and source != at)
    walked = list(trail)
    return list(reversed(walked[walked.index(at) :]))


def _reach(definition: Definition, graph: Graph, prefix: str) -> Iterator[Finding]:
    starts = [spec.id for spec in definition.components if spec.type == "start"]
    reached = graph.descendants(*starts) | set(starts)
    for index, spec in enumerate(definition.components):
        if starts and spec.id not in reached:
            yield Finding(
                code="UNREACHABLE",
                severity=Severity.WARNING,
                message=f"'{spec.id}' cannot be reached from the start and will be skipped",
                component_id=spec.id,
                field=f"{prefix}.components[{index}]",
            )


def _count(definition: Definition) -> Finding:
    components, connections = len(definition.components), len(definition.connections)
    return Finding(
        code="SIZE",
        severity=Severity.INFO,
        message=f"the workflow has {components} component{'s' * (components != 1)} "
        f"and {connections} connection{'s' * (connections != 1)}",
        details={"components": components, "connections": connections},
    )
