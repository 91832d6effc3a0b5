"""Configs against their schemas, expressions that must parse, references that must lead somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from executor.components.registry import Registry
from executor.conditions import names_in
from executor.definitions.report import Finding, error, warning
from executor.domain.definition import LOOP, ComponentSpec, ConnectionType, Graph, own_config
from executor.domain.errors import Code
from executor.domain.execution.references import ITERATION, variables_of
from executor.domain.references import NOWHERE, BadReference, Reference, Root, find, holds_reference
from executor.expressions import ExpressionError, check
from executor.shapes import problems_of

_OF_ITEMS = (Root.VARIABLE, Root.PARAMETER, Root.COMPONENT)
"""How a reference to the item of a loop may be written."""


def connection_findings(graph: Graph, prefix: str) -> Iterator[Finding]:
    seen: set[tuple[str, str, str, str | None]] = set()
    for index, connection in enumerate(graph.connections):
        field = f"{prefix}.connections[{index}]"
        for end, id in (("source", connection.source), ("target", connection.target)):
            if id not in graph.components:
                yield error("UNKNOWN_COMPONENT", f"there is no component '{id}'", f"{field}.{end}")
        if connection.source == connection.target:
            yield error("SELF_LINK", f"'{connection.source}' leads to itself", field, connection.source)
        key = (connection.source, connection.target, connection.type, connection.condition)
        if key in seen:
            message = f"the connection from '{connection.source}' to '{connection.target}' is there twice"
            yield error("REPEATED_CONNECTION", message, field, connection.source)
        seen.add(key)
        if connection.condition is not None and connection.condition.strip():
            try:
                check(connection.condition, names_in(graph), is_condition=True)
            except ExpressionError as wrong:
                yield error("EXPRESSION", f"the condition is wrong: {wrong}", f"{field}.condition", connection.source)
        elif connection.type is ConnectionType.CONDITIONAL:
            yield error("NO_CONDITION", "a conditional connection needs a condition", f"{field}.condition")


def config_findings(graph: Graph, registry: Registry, prefix: str, used: set[str]) -> Iterator[Finding]:
    """Of the components of one graph, without those in the bodies of loops. The parameters that they use are added to
    `used`."""
    for index, spec in enumerate(graph.definition.components):
        field = f"{prefix}.components[{index}]"
        if spec.type not in registry:
            known = ", ".join(sorted(registry))
            message = f"there is no component type '{spec.type}'; there are {known}"
            yield error("UNKNOWN_TYPE", message, f"{field}.type", spec.id)
            continue
        yield from _schema_findings(spec, registry, f"{field}.config")
        yield from _expression_findings(graph, spec, registry, f"{field}.config")
        for at, wrong in registry[spec.type].faults(spec.config):
            yield error("CONFIG", wrong, f"{field}.config.{at}", spec.id)
        yield from _reference_findings(graph, spec, registry, f"{field}.config", used)
        yield from _care_findings(graph, spec, registry, field)


def concurrency_findings(graph: Graph, prefix: str, used: set[str]) -> Iterator[Finding]:
    """The key is found before anything has run."""
    if graph.definition.concurrency is None:
        return
    declared = {parameter.name: parameter for parameter in graph.definition.parameters}
    for field, reference in find(graph.definition.concurrency.key, f"{prefix}.concurrency.key"):
        if isinstance(reference, BadReference):
            yield error("REFERENCE", f"'{reference.text}' is not a reference: {reference.why}", field)
        elif reference.root not in (Root.INPUT, Root.PARAMETER):
            yield error("REFERENCE", f"'{reference.text}': only parameters are known before a run begins", field)
        elif reference.root is Root.PARAMETER and reference.name not in declared:
            message = f"'{reference.text}': there is no parameter '{reference.name}'; declare it in parameters"
            yield error("UNDECLARED_PARAMETER", message, field)
        elif reference.name in declared and declared[reference.name].secret:
            yield error("SECRET", f"'{reference.text}' is a secret, and no key", field)
        used.update([reference.name] if isinstance(reference, Reference) else ())


def unused_findings(graph: Graph, registry: Registry, prefix: str, used: set[str]) -> Iterator[Finding]:
    parameters = graph.definition.parameters
    texts = list(_texts_with_input(graph, registry)) if parameters else []
    for index, parameter in enumerate(parameters):
        if parameter.name not in used and not any(parameter.name in text for text in texts):
            message = f"the parameter '{parameter.name}' is declared and never used"
            yield warning("UNUSED_PARAMETER", message, f"{prefix}.parameters[{index}]")


def _texts_with_input(graph: Graph, registry: Registry) -> Iterator[str]:
    """Conditions and expressions may use a parameter through `input`; its name in the text is hint enough."""
    texts = [connection.condition or "" for connection in graph.connections]
    for spec in graph.components.values():
        if spec.type in registry:
            texts += [text for _, text in _expressions(registry[spec.type].config_schema, spec.config, "")]
    yield from (text for text in texts if "input" in text)
    for body in graph.bodies.values():
        yield from _texts_with_input(body, registry)


def _expressions(schema: dict[str, Any], value: Any, field: str) -> Iterator[tuple[str, str]]:
    """Where a config holds CEL, by its schema, and what."""
    if isinstance(value, str) and schema.get("x-expression") == "cel":
        yield field, value
    elif isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name in value and isinstance(inner, dict):
                yield from _expressions(inner, value[name], f"{field}.{name}")
    elif isinstance(value, list) and isinstance(inner := schema.get("items"), dict):
        for index, each in enumerate(value):
            yield from _expressions(inner, each, f"{field}[{index}]")


def _schema_findings(spec: ComponentSpec, registry: Registry, field: str) -> Iterator[Finding]:
    """Where a value holds a reference, only what it resolves to can be checked, when it runs."""
    schema, validator = registry[spec.type].config_schema, registry.validator(spec.type)
    for problem, steps in problems_of(validator, spec.config, field, Code.WORKFLOW_INVALID, schema):
        value: Any = spec.config
        for step in steps:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                value = None
                break
        if not (isinstance(value, str) and holds_reference(value)):
            yield error("CONFIG", problem.message, problem.field or field, spec.id)


def _expression_findings(graph: Graph, spec: ComponentSpec, registry: Registry, field: str) -> Iterator[Finding]:
    names = (*names_in(graph), ITERATION) if spec.type == LOOP else names_in(graph)
    for at, text in _expressions(registry[spec.type].config_schema, spec.config, field):
        try:
            check(text, tuple(dict.fromkeys(names)))
        except ExpressionError as wrong:
            yield error("EXPRESSION", f"the expression is wrong: {wrong}", at, spec.id)


def _reference_findings(
    graph: Graph, spec: ComponentSpec, registry: Registry, prefix: str, used: set[str]
) -> Iterator[Finding]:
    for field, reference in find(own_config(spec), prefix):
        if isinstance(reference, BadReference):
            yield error("REFERENCE", f"'{reference.text}' is not a reference: {reference.why}", field, spec.id)
        elif reference.root in _OF_ITEMS and reference.name in variables_of(graph):
            if reference.root is Root.COMPONENT and graph.named(reference.name) is not None:
                yield from _component_reference(graph, spec, reference, field)
        elif reference.root is Root.VARIABLE:
            yield error("REFERENCE", f"'{reference.text}' {_no_variable(graph, reference)}", field, spec.id)
        elif reference.root is Root.COMPONENT:
            yield from _component_reference(graph, spec, reference, field)
        elif reference.root in (Root.PARAMETER, Root.INPUT):
            yield from _parameter_reference(graph, spec, reference, registry, field, used)


def _no_variable(graph: Graph, reference: Reference) -> str:
    """What is wrong with a reference whose first word is nothing that a loop around it has named."""
    if graph.named(reference.name) is not None:
        return f"does not say what of '{reference.name}': write ${{{reference.name}.output}} and what follows"
    if names := variables_of(graph):
        return f"is not a reference: {NOWHERE}; here there are {', '.join(names)}"
    return f"is not a reference: {NOWHERE}; this is in no loop"


def _parameter_reference(
    graph: Graph, spec: ComponentSpec, reference: Reference, registry: Registry, field: str, used: set[str]
) -> Iterator[Finding]:
    declared = {parameter.name: parameter for parameter in graph.top.definition.parameters}
    used.update([reference.name] if reference.name else declared)
    if reference.root is Root.PARAMETER and reference.name not in declared:
        message = f"'{reference.text}': there is no parameter '{reference.name}'; declare it in parameters"
        yield error("UNDECLARED_PARAMETER", message, field, spec.id)
    elif reference.name and reference.name not in declared:
        message = f"'{reference.text}' is not among the declared parameters; it is null unless given"
        yield warning("UNDECLARED_INPUT", message, field, spec.id)
    takes_secrets = registry[spec.type].goes_outside or registry[spec.type].passes_secrets
    if reference.name in declared and declared[reference.name].secret and not takes_secrets:
        message = f"'{reference.text}' is a secret; only configs that go outside may have it"
        yield error("SECRET", message, field, spec.id)


def _component_reference(graph: Graph, spec: ComponentSpec, reference: Reference, field: str) -> Iterator[Finding]:
    """What stands before a loop, stands before all that is in it."""
    at, around = spec.id, graph
    while reference.name not in around.names and around.above is not None:
        at, around = around.loop, around.above
    if reference.name not in around.names:
        inside = "" if reference.name not in graph.home else " here: what is in a loop is seen only in there"
        message = f"'{reference.text}': there is no component '{reference.name}'{inside}"
        yield error("REFERENCE", message, field, spec.id)
    elif not around.is_ancestor(around.names[reference.name], at):
        message = f"'{reference.text}': '{reference.name}' does not come before '{at}'"
        yield error("REFERENCE", message, field, spec.id)


def _care_findings(graph: Graph, spec: ComponentSpec, registry: Registry, field: str) -> Iterator[Finding]:
    if not registry[spec.type].goes_outside:
        return
    if spec.timeout_seconds is None and spec.config.get("timeout") is None:
        message = f"'{spec.id}' goes outside without timeout_seconds"
        yield warning("NO_TIMEOUT", message, field, spec.id)
    handles = any(graph.connections[index].type is ConnectionType.ERROR for index in graph.outgoing[spec.id])
    if not handles and (spec.retry is None or spec.retry.max_attempts == 1):
        message = f"'{spec.id}' has neither a retry policy nor an error connection"
        yield warning("NO_ERROR_HANDLING", message, field, spec.id)
