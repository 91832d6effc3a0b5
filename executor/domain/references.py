"""References in configs: `${workflow.input.x}`, `${component.output.y}`, `${execution.id}`, `{{parameter}}`.

They are paths, resolved without evaluating anything. A text that is one reference takes its value with its type;
inside a longer text the value is written out (JSON where it is not a text, nothing where it is null). A path that
leads nowhere is null. `$${` stands for a literal `${`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

_TOKEN = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\{\{([^{}]*)\}\}")
_STEP = re.compile(r"(?:^|(?!^)\.)([\w-]+)|\[([0-9]{1,9})\]")
VARIABLE_PATTERN = r"[A-Za-z_][A-Za-z0-9_]*"
_INDEX = re.compile(r"[0-9]{1,9}")


MOST_BYTES = 8 * 1024 * 1024
"""What the references of one config may come to together."""
_VARIABLE = re.compile(VARIABLE_PATTERN)
NOWHERE = (
    "it must start with workflow.input, with a component's id and .output, or in a loop with the name of its item"
)


class Root(StrEnum):
    """Where a path starts."""

    INPUT = "input"
    PARAMETER = "parameter"
    COMPONENT = "component"
    EXECUTION = "execution"
    VARIABLE = "variable"


class Reference(NamedTuple):
    """`name` is the component's id for COMPONENT, the parameter's for PARAMETER and INPUT (empty for all of it), for
    VARIABLE what a loop calls its item; only who knows the loops around can say whether there is one."""

    text: str
    root: Root
    name: str
    path: tuple[str, ...]


class BadReference(NamedTuple):
    text: str
    why: str


Lookup = Callable[[Reference], Any]


def _split(path: str) -> tuple[str, ...] | None:
    """`a.b[0].c` → ("a", "b", "0", "c"); None where it is not a path."""
    steps: list[str] = []
    end = 0
    for match in _STEP.finditer(path):
        if match.start() != end:
            return None
        steps.append(match[1] if match[1] is not None else match[2])
        end = match.end()
    return tuple(steps) if steps and end == len(path) else None


def _parse(match: re.Match[str]) -> Reference | BadReference:
    text = match[0]
    if match[2] is not None:
        steps = _split(match[2].strip())
        if steps is None:
            return BadReference(text, "write it as {{parameter}}")
        return Reference(text, Root.PARAMETER, steps[0], steps[1:])
    steps = _split(match[1].strip())
    if steps is None:
        return BadReference(text, "write it as ${workflow.input.name} or ${component.output.name}")
    if steps[:2] == ("workflow", "input"):
        return Reference(text, Root.INPUT, steps[2] if len(steps) > 2 else "", steps[3:])
    if steps[0] == "execution" and len(steps) == 2:
        return Reference(text, Root.EXECUTION, steps[1], ())
    if len(steps) > 1 and steps[1] == "output":
        return Reference(text, Root.COMPONENT, steps[0], steps[2:])
    if steps[0] in ("workflow", "execution") or _VARIABLE.fullmatch(steps[0]) is None:
        return BadReference(text, NOWHERE)
    return Reference(text, Root.VARIABLE, steps[0], steps[1:])


def find(value: Any, field: str) -> Iterator[tuple[str, Reference | BadReference]]:
    """Every reference in a JSON value, with the path of the text that holds it."""
    if isinstance(value, str):
        for match in _TOKEN.finditer(value):
            if match[0] != "$${":
                yield field, _parse(match)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from find(inner, f"{field}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from find(inner, f"{field}[{index}]")


def holds_reference(text: str) -> bool:
    return any(match[0] != "$${" for match in _TOKEN.finditer(text))


def walk(value: Any, path: tuple[str, ...]) -> Any:
    """What a path leads to inside a JSON value; null where it leads nowhere."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and _INDEX.fullmatch(step) and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def resolve(value: Any, lookup: Lookup) -> Any:
    """The value with its references replaced by what `lookup` answers. Bad ones stay as they are.

    Raises `TooLarge` where that comes to more than `MOST_BYTES`: a few bytes of references may stand for any number
    of copies of an output.
    """
    left = [MOST_BYTES]

    def bounded(reference: Reference) -> Any:
        found = lookup(reference)
        left[0] -= _size(found)
        if left[0] < 0:
            raise TooLarge(f"its references come to more than {MOST_BYTES} bytes")
        return found

    return _resolved(value, bounded)


class TooLarge(ValueError):
    """What references come to is more than there is room for."""


def _size(value: Any) -> int:
    """About the bytes that a value takes as JSON."""
    if value is None or isinstance(value, bool | int | float):
        return 8
    return len(value) if isinstance(value, str) else len(msgspec.json.encode(value))


def _resolved(value: Any, lookup: Lookup) -> Any:
    if isinstance(value, str):
        return _resolve_text(value, lookup)
    if isinstance(value, dict):
        return {key: _resolved(inner, lookup) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(inner, lookup) for inner in value]
    return value


def _resolve_text(text: str, lookup: Lookup) -> Any:
    if "{" not in text:
        return text
    whole = _TOKEN.fullmatch(text)
    if whole is not None and whole[0] != "$${":
        reference = _parse(whole)
        return lookup(reference) if isinstance(reference, Reference) else text

    def written(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        reference = _parse(match)
        if isinstance(reference, BadReference):
            return match[0]
        return _written(lookup(reference))

    return _TOKEN.sub(written, text)


def put_in(text: str, names: Container[str], lookup: Lookup, *, is_text: bool = False) -> Any:
    """The text with its references to parameters of these names replaced, and everything else as it stands. One that
    is the whole text gives its value with its type, unless all are written as text."""

    def ours(match: re.Match[str]) -> Reference | None:
        found = _parse(match) if match[2] is not None else None
        return found if isinstance(found, Reference) and found.name in names else None

    whole = _TOKEN.fullmatch(text)
    if whole is not None and not is_text and (reference := ours(whole)) is not None:
        return lookup(reference)

    def written(match: re.Match[str]) -> str:
        reference = ours(match)
        return match[0] if reference is None else _written(lookup(reference))

    return _TOKEN.sub(written, text)


def _written(value: Any) -> str:
    """A value inside a longer text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
