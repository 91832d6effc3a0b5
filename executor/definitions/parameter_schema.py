"""A `parameter_schema`, which is JSON Schema, as declared parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from msgspec import Meta, Struct

from executor.definitions.report import Finding, error, warning
from executor.domain.definition import ParameterName, ParameterType

_READ = frozenset({"type", "description", "default", "writeOnly"})
_SAYS_NOTHING = frozenset({"title", "examples", "readOnly", "deprecated", "$comment"})


class ParameterSchema(Struct, frozen=True, kw_only=True):
    """An object's schema. What it says besides is kept and means nothing."""

    type: str = "object"
    properties: Annotated[dict[ParameterName, dict[str, Any]], Meta(max_length=1000)] = {}
    required: tuple[str, ...] = ()


def parameters_of(schema: ParameterSchema | None, field: str) -> tuple[list[dict[str, Any]], list[Finding]]:
    """The parameters as JSON, and what there is to say of the schema at `field`."""
    if schema is None:
        return [], []
    findings = list(_findings(schema, field))
    return [_parameter(name, of, name in schema.required) for name, of in schema.properties.items()], findings


def _parameter(name: str, of: dict[str, Any], is_required: bool) -> dict[str, Any]:
    parameter = {"name": name, "type": _type(of) or ParameterType.ANY.value, "required": is_required}
    if "default" in of:
        parameter["default_value"] = of["default"]
    if isinstance(of.get("description"), str):
        parameter["description"] = of["description"][:1000]
    if of.get("writeOnly") is True:
        parameter["secret"] = True
    return parameter


def _type(of: dict[str, Any]) -> str | None:
    """Its one type beside null, which every parameter may be; `any` where it has none or several. None is no type."""
    given = of.get("type", ParameterType.ANY.value)
    kinds = [kind for kind in (given if isinstance(given, list) else [given]) if kind != "null"]
    if any(kind not in {str(known) for known in ParameterType} for kind in kinds if isinstance(kind, str)):
        return None
    if not all(isinstance(kind, str) for kind in kinds):
        return None
    return kinds[0] if len(kinds) == 1 else ParameterType.ANY.value


def _findings(schema: ParameterSchema, field: str) -> Iterator[Finding]:
    if schema.type != "object":
        yield error("PARAMETER_SCHEMA", "the parameters are an object: its type must be 'object'", f"{field}.type")
    for index, name in enumerate(schema.required):
        if name not in schema.properties:
            message = f"'{name}' is required and not among the properties"
            yield error("PARAMETER_SCHEMA", message, f"{field}.required[{index}]")
    for name, of in schema.properties.items():
        at = f"{field}.properties.{name}"
        if _type(of) is None:
            known = ", ".join(kind for kind in ParameterType if kind is not ParameterType.ANY)
            yield error("PARAMETER_SCHEMA", f"'{name}' must be of type {known}, or null", f"{at}.type")
        if ignored := sorted(of.keys() - _READ - _SAYS_NOTHING):
            message = f"of '{name}' only the type is checked, not {', '.join(ignored)}"
            yield warning("PARAMETER_RULE", message, at)
