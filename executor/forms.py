"""Forms: the JSON Schema of what a person enters into a task, and what is wrong with what they entered.

A form comes from a client and is run on what another client sends, so it is kept cheap: it refers to nothing, neither
to itself nor to an address, its patterns run in linear time, and the larger it is, the less it is asked to check.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

import jsonschema_rs
import msgspec

from executor.domain.errors import Code, Problem
from executor.domain.values import is_deep
from executor.shapes import path, problems_of

MAX_FORM_BYTES: Final = 32 * 1024
_MOST_WORK: Final = 2**29
"""Bytes of a form times bytes of what is entered: under a second of checking."""
_MOST_PROBLEMS: Final = 100
_REFERRING: Final = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})


def form_faults(form: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with a form, with the path in it where that is."""
    if not isinstance(form, dict):
        yield "", "a form is a JSON Schema: an object"
        return
    if is_deep(form) or len(msgspec.json.encode(form)) > MAX_FORM_BYTES:
        yield "", f"a form has at most {MAX_FORM_BYTES} bytes, and is not nested too deeply"
        return
    referring = list(_referring(form, ()))
    yield from ((path("", at), f"a form cannot refer to another schema ({at[-1]})") for at in referring)
    if not referring:
        try:
            _compiled(form)
        except ValueError as error:
            at = getattr(error, "instance_path", ())
            yield path("", at), f"the form is not a JSON Schema: {getattr(error, 'message', error)}"


def entry_problems(form: dict[str, Any] | None, entered: Any, prefix: str) -> list[Problem]:
    """What is wrong with what somebody entered into a form that was checked; without a form, nothing is."""
    if form is None:
        return []
    work = len(msgspec.json.encode(form)) * len(msgspec.json.encode(entered))
    if work > _MOST_WORK:
        return [
            Problem(Code.OUTPUT_TOO_LARGE, f"{prefix}: is too large to be checked against the task's form", prefix)
        ]
    return [problem for problem, _ in problems_of(_Few(_compiled(form)), entered, prefix)]


class _Few:
    """A validator that stops after some errors: each costs more than finding it."""

    def __init__(self, validator: Any) -> None:
        self._validator = validator

    def iter_errors(self, value: Any) -> Iterable[Any]:
        return islice(self._validator.iter_errors(value), _MOST_PROBLEMS)


def _compiled(form: dict[str, Any]) -> Any:
    linear = jsonschema_rs.RegexOptions()
    return jsonschema_rs.validator_for(
        form, mask="the value", validate_formats=False, retriever=_nothing, pattern_options=linear
    )


def _nothing(uri: str) -> Any:
    raise ValueError("a form refers to nothing")


def _referring(value: Any, at: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in _REFERRING:
                yield (*at, name)
            yield from _referring(inner, (*at, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _referring(inner, (*at, index))
