"""CEL: the only module that knows the engine of conditions and expressions (https://cel.dev).

The runtime answers errors as values whose text is truthy, and counts iterations, so that an expression can't hang us;
both become `ExpressionError` here. Results are JSON values. Numbers: CEL does not mix ints and doubles in arithmetic
(`1 + 1.0` is an error), comparisons do.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from cel_expr_python import cel

CONDITION_VARIABLES = ("input", "steps", "execution", "output")
MOST_RESULT_BYTES = 1024 * 1024
_MACRO = re.compile(r"\.\s*(?:all|exists|exists_one|existsOne|filter|map|transformList|transformMap)\s*\(")
_ITERATIONS = 10_000
"""CEL's own budget of iterations."""
_MOST_WORK = 200_000_000
"""Iterations times characters: less than a second of the loop in the worst of cases (a regular expression)."""
_LONGEST = 4096
_DEEPEST = 64


class ExpressionError(ValueError):
    """The expression does not parse, or did not come to an answer; the message says where and why."""


@lru_cache(maxsize=16)
def _environment(variables: tuple[str, ...]) -> Any:
    return cel.NewEnv(variables=dict.fromkeys(variables, cel.Type.DYN))


@lru_cache(maxsize=4096)
def _compiled(text: str, variables: tuple[str, ...]) -> Any:
    if not text.strip():
        raise ExpressionError("the expression is empty")
    if len(text) > _LONGEST:
        raise ExpressionError(f"the expression is longer than {_LONGEST} characters")
    try:
        return _environment(variables).compile(text)
    except RuntimeError as error:
        wrong = _readable(str(error))
        known = f"; the variables are {', '.join(variables)}" if "undeclared reference" in wrong else ""
        raise ExpressionError(wrong + known) from None
    except TypeError:
        raise ExpressionError("the expression holds half of a surrogate pair") from None


def check(text: str, variables: Sequence[str] = CONDITION_VARIABLES, *, is_condition: bool = False) -> None:
    """Raises `ExpressionError` if the text does not parse, names an unknown variable, or, as a condition, can't be a
    bool."""
    kind = _compiled(text, tuple(variables)).return_type()
    if is_condition and kind not in (cel.Type.BOOL, cel.Type.DYN):
        raise ExpressionError(f"a condition must be true or false, this is a {kind.name()}")


class Scope:
    """The variables that expressions see at one moment. Each is read from `data` when the first expression names it,
    and checked, measured and converted to CEL once, however many expressions follow."""

    def __init__(self, data: Mapping[str, Any], variables: Sequence[str] = CONDITION_VARIABLES) -> None:
        self.variables = tuple(variables)
        self._data = data
        self._given: dict[str, Any] = {}
        self._activation: Any = None
        self._longest = self._elements = 0

    def activation(self, text: str) -> Any:
        """What an expression is evaluated over. Raises `ExpressionError` for data that CEL cannot read, and for an
        expression that would take too long over it."""
        named = {name for name in self.variables if name in text}
        fresh = {name: self._data[name] for name in named - self._given.keys()}
        if fresh or self._activation is None:
            _require_readable(fresh)
            for value in fresh.values():
                longest, elements = measured(value)
                self._longest, self._elements = max(self._longest, longest), self._elements + elements
            self._given |= fresh
            given = dict.fromkeys(self.variables) | self._given
            self._activation = _environment(self.variables).Activation(given)
        self._require_affordable(text)
        return self._activation

    def _require_affordable(self, text: str) -> None:
        """CEL counts iterations, not what each costs: this bounds their product with the longest text."""
        depth = len(_MACRO.findall(text))
        iterations = min(_ITERATIONS, max(1, self._elements) ** min(depth, 4))
        if iterations * self._longest * (1 + text.count("+")) > _MOST_WORK:
            raise ExpressionError("the expression would take too long: too many items for texts of that length")


def evaluate(text: str, data: Mapping[str, Any] | Scope, variables: Sequence[str] = CONDITION_VARIABLES) -> Any:
    """The JSON value of the expression over `data`, which is asked only for the variables that the text names."""
    scope = data if isinstance(data, Scope) else Scope(data, variables)
    expression = _compiled(text, scope.variables)
    try:
        answer = expression.eval(scope.activation(text))
        if answer.type() == cel.Type.ERROR:
            raise ExpressionError(_readable(str(answer.plain_value())))
        return _Reading().json(answer.value())
    except RuntimeError as error:
        raise ExpressionError(_readable(str(error))) from None


def measured(data: Any) -> tuple[int, int]:
    """The length of the longest text in a JSON value, and how many items its lists and mappings have together."""
    longest = elements = 0
    waiting = [data]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            longest = max(longest, len(value))
        elif isinstance(value, dict):
            elements += len(value)
            waiting += value.values()
        elif isinstance(value, list | tuple):
            elements += len(value)
            waiting += value
    return longest, elements


def _require_readable(data: Any) -> None:
    """CEL reads a text only as far as its first U+0000: `"admin\\0x" == "admin"` must not come out true."""
    try:
        is_doubtful = b"\\u0000" in msgspec.json.encode(data)
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise ExpressionError("the data is not JSON") from None
    waiting = [data] if is_doubtful else []
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and "\0" in value:
            raise ExpressionError("the data holds a text with U+0000, which expressions cannot read")
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            waiting += value


def is_true(text: str, data: Mapping[str, Any] | Scope, variables: Sequence[str] = CONDITION_VARIABLES) -> bool:
    """The answer of a condition; anything but a bool is an `ExpressionError`."""
    answer = evaluate(text, data, variables)
    if not isinstance(answer, bool):
        raise ExpressionError(f"a condition must be true or false, this is {_kind(answer)}")
    return answer


class _Reading:
    """A CEL value becoming JSON. The same text may stand in it a million times without taking room there, but would
    here: so its size is counted on the way."""

    def __init__(self) -> None:
        self._left = MOST_RESULT_BYTES

    def json(self, value: Any, depth: int = 0) -> Any:
        if depth > _DEEPEST:
            raise ExpressionError("the result is nested too deeply")
        self._left -= len(value) if isinstance(value, str) else 1
        if self._left < 0:
            raise ExpressionError(f"the result is larger than {MOST_RESULT_BYTES} bytes")
        if isinstance(value, float) and not math.isfinite(value):
            raise ExpressionError("the result is not a finite number")
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, list):
            return [self.json(item.value(), depth + 1) for item in value]
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                raise ExpressionError("the keys of a mapping must be strings")
            return {key: self.json(item.value(), depth + 1) for key, item in value.items()}
        if isinstance(value, datetime.datetime):
            return value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
        if isinstance(value, datetime.timedelta):
            return value.total_seconds()
        raise ExpressionError(f"the result is {_kind(value)}, which JSON does not have")


def _kind(value: Any) -> str:
    names = {str: "a string", int: "an int", float: "a double", list: "a list", dict: "a map", type(None): "null"}
    return names.get(type(value), f"a {type(value).__name__}")


def _readable(error: str) -> str:
    """CEL's message without its status words and the drawing below it."""
    first = error.split("\n", 1)[0].removesuffix("[INVALID_ARGUMENT]").strip()
    for prefix in ("INVALID_ARGUMENT: ", "ERROR: ", "NOT_FOUND: ", "UNKNOWN: ", "INTERNAL: ", "OUT_OF_RANGE: "):
        first = first.removeprefix(prefix)
    return first.replace("<input>:", "at ").replace("(in container '')", "").strip()
