"""From a JSON value to a typed one, or every problem of its shape at once, each with its field path.

msgspec decodes and stops at the first error; where it refuses, the JSON Schema of the same type lists them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

import jsonschema_rs
import msgspec

from executor.domain.errors import Code, Invalid, Problem

T = TypeVar("T")
_AT = re.compile(r" - at `(?:key in )?\$([^`]*)`$")
_MASK = "the value"
_MOST = 50
"""Options that a message lists; the schema may be anybody's."""


def path(prefix: str, steps: Iterable[str | int]) -> str:
    """`("components", 0, "id")` under `definition` → `definition.components[0].id`."""
    text = prefix
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def problems_of(
    validator: Any, value: Any, prefix: str, code: Code = Code.VALIDATION_ERROR, schema: Any = None
) -> list[tuple[Problem, list[str | int]]]:
    """Every way in which the value breaks the schema, with where in the value it is."""
    found: list[tuple[Problem, list[str | int]]] = []
    try:
        errors = list(validator.iter_errors(value))
    except ValueError:  # What the validator cannot read: some 250 levels, half a surrogate pair.
        message = f"{prefix or 'the body'} is nested too deeply, or holds a text that is not Unicode"
        return [(Problem(code, message, prefix or None), [])]
    for error in errors:
        steps = list(error.instance_path)
        kind, described = error.kind.as_dict(), _described(schema, error.schema_path)
        if error.kind.name == "additionalProperties":
            known = _known(schema, error.schema_path)
            for name in kind["unexpected"]:
                at = [*steps, name]
                found.append((Problem(code, f"unknown field '{name}'{known}", path(prefix, at)), at))
        elif error.kind.name == "required":
            at = [*steps, kind["property"]]
            wrong = described or f"'{kind['property']}' is required"
            found.append((Problem(code, wrong, path(prefix, at)), at))
        else:
            where = path(prefix, steps)
            wrong = described or _told(kind) or error.message
            found.append((Problem(code, f"{where or 'the body'}: {wrong}", where or None), steps))
    return found


def _described(schema: Any, steps: Sequence[str | int]) -> str | None:
    """What a schema of several forms, or with something ruled out, says of it in its description: better than that
    none fits."""
    if not steps or steps[-1] not in ("anyOf", "oneOf", "not", "dependentRequired"):
        return None
    description: str | None = _around(schema, steps).get("description")
    return description


def _known(schema: Any, steps: Sequence[str | int]) -> str:
    """Which fields there are where one is unknown."""
    names = _around(schema, steps).get("properties", ())
    return f"; there {'are' if len(names) > 1 else 'is'} {', '.join(names)}" if names else ""


def _around(schema: Any, steps: Sequence[str | int]) -> dict[str, Any]:
    """The schema that the keyword at the end of the steps belongs to."""
    for step in steps[:-1]:
        schema = schema[step] if schema is not None else None
    return schema or {}


def _told(kind: dict[str, Any]) -> str | None:
    """All that a value may be; the validator's own message names two of them."""
    options = kind.get("options")
    if not isinstance(options, list) or len(options) > _MOST or not all(isinstance(each, str) for each in options):
        return None
    return f"the value is not one of {', '.join(options)}"


def compiled(schema: dict[str, Any]) -> Any:
    """A validator whose messages never show the values that they refuse."""
    return jsonschema_rs.validator_for(schema, mask=_MASK, validate_formats=False)


class Shape(Generic[T]):
    """The shape of one msgspec type, such as a request's body."""

    def __init__(self, type: type[T]) -> None:
        self.type = type
        self._schema: Any = None
        self._validator: Any = None

    def parse(self, value: Any, prefix: str = "") -> T:
        """The typed value. Raises `Invalid` with every problem at once."""
        try:
            return msgspec.convert(value, self.type)
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            raise Invalid(self._problems(value, prefix) or [_from_msgspec(error, prefix)]) from None

    def _problems(self, value: Any, prefix: str) -> list[Problem]:
        if self._validator is None:
            self._schema = _nullable(msgspec.json.schema(self.type))
            self._validator = compiled(self._schema)
        return [problem for problem, _ in problems_of(self._validator, value, prefix, schema=self._schema)]


def _nullable(schema: Any) -> Any:
    """`anyOf [X, null]` as a conditional, so that what is wrong inside X is said, not only that neither fits."""
    if isinstance(schema, list):
        return [_nullable(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    options: Sequence[Any] = schema.get("anyOf", ())
    if len(options) == 2 and {"type": "null"} in options:
        other = next(option for option in options if option != {"type": "null"})
        return {"if": {"not": {"type": "null"}}, "then": _nullable(other)}
    return {key: _nullable(value) for key, value in schema.items()}


def _from_msgspec(error: Exception, prefix: str) -> Problem:
    text = str(error).replace("Invalid RFC3339 encoded datetime", "must be a time, such as 2026-01-31T12:00:00Z")
    at = _AT.search(text)
    steps = at[1].removeprefix(".") if at else ""
    field = ".".join(part for part in (prefix, steps) if part) or None
    return Problem(Code.VALIDATION_ERROR, f"{field or 'the body'}: {_AT.sub('', text)}", field)
