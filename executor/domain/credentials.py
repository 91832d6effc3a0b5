"""Where a definition of any written form has room for credentials: headers and query values whose names say so. Pure.

What is no definition at all has none: whoever compiles it says what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import Any, Final, NamedTuple

from executor.domain.definition import LOOP

_NAME: Final = re.compile(
    r"authorization|cookie|token|secret|password|passwd|credential|api[-_]?key|access[-_]?key|(?:^|[-_])auth(?:$|[-_])",
    re.IGNORECASE,
)
_FIELDS: Final = ("headers", "query")


class Place(NamedTuple):
    """A value that is a credential by its name: `values[name]`. `key` is the same in every written form: the ids of
    the loops around and of the component, the field of its config, the name in small letters."""

    key: tuple[str, ...]
    values: dict[str, Any]
    name: str
    field: str


def credentials_in(
    definition: Any, types: Container[str], field: str = "definition", above: tuple[str, ...] = ()
) -> Iterator[Place]:
    """Of the components and blocks of these types, those in the bodies of loops too."""
    for name, config in (("components", "config"), ("blocks", "parameters")):
        listed = definition.get(name) if isinstance(definition, dict) else None
        for index, spec in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(spec, dict) and isinstance(spec.get(config), dict) and isinstance(spec.get("id"), str):
                at, around = f"{field}.{name}[{index}].{config}", (*above, spec["id"])
                yield from _of_one(spec.get("type"), spec[config], types, at, around)


def _of_one(
    type: Any, config: dict[str, Any], types: Container[str], field: str, around: tuple[str, ...]
) -> Iterator[Place]:
    if type == LOOP:
        yield from credentials_in(config.get("body"), types, f"{field}.body", around)
        inside = {"blocks": config.get("loop_blocks")}
        for place in credentials_in(inside, types, field, around):
            yield place._replace(field=place.field.replace(f"{field}.blocks", f"{field}.loop_blocks", 1))
    elif isinstance(type, str) and type in types:
        for name in _FIELDS:
            values = config.get(name)
            if isinstance(values, dict):
                for key in filter(_NAME.search, values):
                    yield Place((*around, name, key.lower()), values, key, f"{field}.{name}.{key}")
