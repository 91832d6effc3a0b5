"""Is this definition a workflow that can run? Every answer at once: shape first, then the graph, then the configs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec import UNSET

from executor.components.registry import Registry
from executor.definitions.blocks import compile_blocks
from executor.definitions.configs import (
    concurrency_findings,
    config_findings,
    connection_findings,
    unused_findings,
)
from executor.definitions.forms import Compile, Written
from executor.definitions.parameters import fits
from executor.definitions.report import Finding, Report, Severity, error, report
from executor.definitions.steps import compile_steps
from executor.domain.definition import LOOP, START, ComponentSpec, Definition, Graph
from executor.domain.errors import Code, Invalid
from executor.domain.references import holds_reference
from executor.domain.values import DEEPEST, is_deep
from executor.shapes import Shape

_SHAPE = Shape(Definition)


AgentNamed = Callable[[str], bool]
"""Is there an active agent of this name?"""

_OF_THE_WHOLE = ("parameters", "max_execution_time", "queue_timeout", "concurrency")
_FORMS: dict[str, Compile] = {"start_step": compile_steps, "steps": compile_steps, "blocks": compile_blocks}
"""The form of a definition that has no `components`, by a field that only this form has."""


def compile_definition(
    raw: Any, registry: Registry, prefix: str = "definition", *, agent_named: AgentNamed | None = None
) -> Definition:
    """The graph of a valid raw definition, in whatever form. Raises `Invalid` with every error."""
    definition, answer = examine(raw, registry, prefix, agent_named=agent_named)
    if definition is None or not answer.is_valid:
        raise Invalid(answer.problems(), "the workflow definition is invalid")
    return definition


def form_of(raw: Any) -> Compile | None:
    """What compiles a written form; None for the graph itself, and for what is no definition at all."""
    if not isinstance(raw, dict) or "components" in raw:
        return None
    return next((compile for name, compile in _FORMS.items() if name in raw), None)


def examine(
    raw: Any, registry: Registry, prefix: str = "definition", *, agent_named: AgentNamed | None = None
) -> tuple[Definition | None, Report]:
    """What there is to say about a raw definition, with the paths of the form that it is in; the graph is None where
    its shape is wrong. Without `agent_named`, nobody asks whether agents exist."""
    if is_deep(raw):
        message = f"{prefix} is nested more than {DEEPEST} levels deep"
        return None, report(
            [Finding(code=Code.VALIDATION_ERROR, severity=Severity.ERROR, message=message, field=prefix)]
        )
    compile = form_of(raw)
    try:
        written = Written(form="graph", graph=raw) if compile is None else compile(raw, prefix)
    except Invalid as invalid:
        return None, _wrong_shape(raw, invalid, prefix)
    try:
        definition = _SHAPE.parse(written.graph, prefix)
    except Invalid as invalid:
        return None, _wrong_shape(raw, written.refused(invalid, prefix), prefix, written.findings)
    of_graph = [
        written.moved(finding, prefix)
        for finding in _findings(definition, registry, prefix, agent_named)
        if finding.code not in written.said
    ]
    said = {finding.field for finding in written.findings if finding.severity is Severity.ERROR}
    return definition, report(
        [
            *written.findings,
            *(each for each in of_graph if each.severity is not Severity.ERROR or each.field not in said),
        ]
    )


def _wrong_shape(raw: Any, invalid: Invalid, prefix: str, more: Iterable[Finding] = ()) -> Report:
    return report(
        [
            *more,
            *(
                Finding(
                    code=problem.code,
                    severity=Severity.ERROR,
                    message=problem.message,
                    field=problem.field,
                    component_id=_component_at(raw, problem.field, prefix),
                )
                for problem in invalid.problems
            ),
        ]
    )


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


def _findings(
    definition: Definition, registry: Registry, prefix: str, agent_named: AgentNamed | None
) -> Iterator[Finding]:
    graph, used = Graph(definition), set[str]()
    yield from _parameters(definition, prefix)
    yield from _graph_findings(graph, registry, prefix, agent_named, used)
    yield from concurrency_findings(graph, prefix, used)
    yield from unused_findings(graph, registry, prefix, used)
    yield _count(definition)


def _graph_findings(
    graph: Graph,
    registry: Registry,
    prefix: str,
    agent_named: AgentNamed | None,
    used: set[str],
) -> Iterator[Finding]:
    """Of a graph and the bodies of its loops."""
    yield from _identities(graph, prefix)
    yield from _starts(graph, prefix)
    yield from connection_findings(graph, prefix)
    yield from _cycles(graph, prefix)
    yield from _reach(graph, prefix)
    yield from config_findings(graph, registry, prefix, used)
    if agent_named is not None:
        yield from _agents(graph.definition, prefix, agent_named)
    for index, spec in enumerate(graph.definition.components):
        field = f"{prefix}.components[{index}].config.body"
        if spec.type == LOOP and isinstance(spec.config.get("body"), dict):
            yield from _body_findings(spec, field)
            if spec.id in graph.bodies:
                yield from _graph_findings(graph.bodies[spec.id], registry, field, agent_named, used)


def _body_findings(spec: ComponentSpec, field: str) -> Iterator[Finding]:
    """Its shape; and what only a whole workflow has."""
    try:
        body = _SHAPE.parse(spec.config["body"], field)
    except Invalid as invalid:
        for problem in invalid.problems:
            yield error("CONFIG", problem.message, problem.field or field, spec.id)
        return
    for name in _OF_THE_WHOLE:
        if getattr(body, name):
            yield error(
                "BODY", f"'{name}' belongs to the workflow, not to the body of a loop", f"{field}.{name}", spec.id
            )


def _identities(graph: Graph, prefix: str) -> Iterator[Finding]:
    seen: Counter[str] = Counter()
    for index, spec in enumerate(graph.definition.components):
        seen[spec.id] += 1
        if seen[spec.id] == 2:
            field = f"{prefix}.components[{index}].id"
            yield error("REPEATED_ID", f"the id '{spec.id}' is used more than once", field, spec.id)


def _parameters(definition: Definition, prefix: str) -> Iterator[Finding]:
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


def _starts(graph: Graph, prefix: str) -> Iterator[Finding]:
    """The body of a loop needs none."""
    starts = [(index, spec) for index, spec in enumerate(graph.definition.components) if spec.type == START]
    if not starts and graph.above is None:
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


def _reach(graph: Graph, prefix: str) -> Iterator[Finding]:
    starts = graph.begins_with
    reached = graph.descendants(*starts) | set(starts)
    for index, spec in enumerate(graph.definition.components):
        if starts and spec.id not in reached:
            yield Finding(
                code="UNREACHABLE",
                severity=Severity.WARNING,
                message=f"'{spec.id}' cannot be reached from the start and will be skipped",
                component_id=spec.id,
                field=f"{prefix}.components[{index}]",
            )


def _agents(definition: Definition, prefix: str, agent_named: AgentNamed) -> Iterator[Finding]:
    for index, spec in enumerate(definition.components):
        name = spec.config.get("agent_name") if spec.type == "agent" else None
        if isinstance(name, str) and not holds_reference(name) and not agent_named(name):
            field = f"{prefix}.components[{index}].config.agent_name"
            yield error("AGENT", f"the agent '{name}' was not found, or is not active", field, spec.id)


def _count(definition: Definition) -> Finding:
    components, connections = len(definition.components), len(definition.connections)
    return Finding(
        code="SIZE",
        severity=Severity.INFO,
        message=f"the workflow has {components} component{'s' * (components != 1)} "
        f"and {connections} connection{'s' * (connections != 1)}",
        details={"components": components, "connections": connections},
    )
