"""A template's parameters: what they may be, and their values put into its definition.

`{{name}}` of a parameter of the template is replaced; everything else stays, so that a definition may have parameters
of its own. In CEL a value is written as a literal, so that no text can become code; only an `expression` is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET

from executor.domain.errors import Code, Problem
from executor.domain.events.template import Template, TemplateParameter, TemplateParameterType
from executor.domain.references import Reference, Root, find, put_in, walk
from executor.shapes import compiled, problems_of

_CEL: Final = frozenset({"expression", "condition", "condition_expression", "code", "while"})
"""Fields whose text is CEL, in whatever form a definition is written."""
_RULES: Final = {
    "min": "minimum",
    "max": "maximum",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
    "min_items": "minItems",
    "max_items": "maxItems",
}
_SAMPLES: Final[Mapping[TemplateParameterType, Any]] = {
    TemplateParameterType.INTEGER: 1,
    TemplateParameterType.NUMBER: 1,
    TemplateParameterType.BOOLEAN: False,
    TemplateParameterType.ARRAY: [],
    TemplateParameterType.OBJECT: {},
    TemplateParameterType.EXPRESSION: "true",
}


def schema_of(parameter: TemplateParameter) -> dict[str, Any]:
    """Its values as JSON Schema."""
    rules = {_RULES[name]: value for name, value in msgspec.to_builtins(parameter.validation_rules).items()}
    kind = parameter.parameter_type
    schema = {name: rule for name, rule in rules.items() if rule is not None}
    if kind is not TemplateParameterType.ANY:
        schema["type"] = "string" if kind is TemplateParameterType.EXPRESSION else str(kind)
    if parameter.options:
        options = {"enum": list(parameter.options)}
        schema |= {"items": options} if kind is TemplateParameterType.ARRAY else options
    return schema


def value_problems(parameter: TemplateParameter, value: Any, field: str) -> list[Problem]:
    """How a value breaks the rules of a parameter."""
    return [problem for problem, _ in problems_of(compiled(schema_of(parameter)), value, field)]


def values_of(parameters: Iterable[TemplateParameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """A value for each parameter: as given, else its default, else null."""
    return {
        each.name: given[each.name]
        if given.get(each.name) is not None
        else (None if each.default_value is UNSET else each.default_value)
        for each in parameters
    }


def given_problems(parameters: Iterable[TemplateParameter], given: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the values that somebody gives, all at once."""
    known = {each.name: each for each in parameters}
    problems = [
        Problem(
            Code.VALIDATION_ERROR,
            f"the template has no parameter '{name}'; {_there_are(known)}",
            f"parameters.{name}",
        )
        for name in given
        if name not in known
    ]
    for name, parameter in known.items():
        value, field = given.get(name), f"parameters.{name}"
        if value is not None:
            problems += value_problems(parameter, value, field)
        elif parameter.required and parameter.default_value is UNSET:
            problems.append(Problem(Code.VALIDATION_ERROR, f"'{name}' is required", field))
    return problems


def _there_are(known: Mapping[str, Any]) -> str:
    return f"there are {', '.join(known)}" if known else "it has none"


def filled(template: Template, values: Mapping[str, Any]) -> Any:
    """The definition with these values. A field that is nothing but a parameter which is null is left out."""
    raw = {each.name for each in template.parameters if each.parameter_type is TemplateParameterType.EXPRESSION}
    return _filled(template.workflow_definition, values, raw, False)


def _filled(value: Any, values: Mapping[str, Any], raw: set[str], is_cel: bool) -> Any:
    if isinstance(value, dict):
        inner = {key: _filled(each, values, raw, key in _CEL) for key, each in value.items()}
        return {key: each for key, each in inner.items() if each is not None or value[key] is None}
    if isinstance(value, list):
        return [_filled(each, values, raw, False) for each in value]
    if not isinstance(value, str):
        return value

    def look_up(reference: Reference) -> Any:
        return walk(values[reference.name], reference.path)

    if not is_cel:
        return put_in(value, values, look_up)

    def literal(reference: Reference) -> str:
        found = look_up(reference)
        return str(found) if reference.name in raw else msgspec.json.encode(found).decode()

    return put_in(value, values, literal, is_text=True)


def parameters_at(template: Template, field: str | None, prefix: str) -> str | None:
    """The parameter whose value stands at a path of the definition, or below it; None where none does."""
    names = {each.name for each in template.parameters}
    for at, reference in find(template.workflow_definition, prefix):
        if not field or not at.startswith(field) or not isinstance(reference, Reference):
            continue
        if reference.root is Root.PARAMETER and reference.name in names:
            return reference.name
    return None


def sample(template: Template) -> Any:
    """The definition as it may come to be: with defaults, or values of the right type; texts without a default stay
    references, to parameters that are declared for it."""
    values: dict[str, Any] = {}
    left: list[str] = []
    for each in template.parameters:
        if each.default_value is not UNSET and each.default_value is not None:
            values[each.name] = each.default_value
        elif each.options:
            values[each.name] = [] if each.parameter_type is TemplateParameterType.ARRAY else each.options[0]
        elif each.parameter_type in _SAMPLES:
            least = each.validation_rules.min
            values[each.name] = _SAMPLES[each.parameter_type] if least is None else int(least) or 1
        else:
            left.append(each.name)
    declared = {name: f"{{{{{name}}}}}" for name in left}
    return _declaring(filled(template, values | declared), left)


def _declaring(definition: Any, names: list[str]) -> Any:
    if not names or not isinstance(definition, dict):
        return definition
    if "blocks" in definition and "components" not in definition:
        schema = definition.get("parameter_schema") or {}
        properties = schema.get("properties", {}) if isinstance(schema, dict) else None
        if not isinstance(properties, dict):
            return definition
        added = schema | {"properties": properties | {name: {} for name in names}}
        return definition | {"parameter_schema": added}
    parameters = definition.get("parameters", [])
    if not isinstance(parameters, list):
        return definition
    return definition | {"parameters": [*parameters, *({"name": name} for name in names)]}
