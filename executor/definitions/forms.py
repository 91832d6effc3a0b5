"""The written forms of a definition: the graph itself, `start_step` + `steps`, `blocks` + `connections`.

Each compiles to the one graph. What is wrong with the graph is said where it was written: `Written.places` leads from
the paths of the one to those of the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct, structs

from executor.definitions.report import Finding
from executor.domain.definition import Concurrency, Seconds
from executor.domain.errors import Invalid, Problem

_ENDS = re.compile(r"[.\[]")


class Whole(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every form says of the whole workflow, in the words of the graph."""

    fail_fast: bool = True
    max_execution_time: Seconds | None = None
    queue_timeout: Seconds | None = None
    concurrency: Concurrency | None = None


OF_THE_WHOLE = Whole.__struct_fields__


def whole_of(written: Whole) -> dict[str, Any]:
    return {name: msgspec.to_builtins(getattr(written, name)) for name in OF_THE_WHOLE}


class Written(Struct, frozen=True, kw_only=True):
    """A definition in some form, as a graph whose shape is still to be checked.

    `places` are paths in the graph and in the form, without prefix; the longest that leads to a path rules, and none
    means that they are the same. `said` are the codes of findings that the form has said itself.
    """

    form: str
    graph: Any
    places: Mapping[str, str] | None = None
    findings: tuple[Finding, ...] = ()
    said: frozenset[str] = frozenset()

    def place(self, field: str | None, prefix: str) -> str | None:
        """Where a path of the graph was written."""
        if self.places is None or field is None or not field.startswith(f"{prefix}."):
            return field
        path = field[len(prefix) + 1 :]
        ends = [len(path), *(match.start() for match in reversed(list(_ENDS.finditer(path))))]
        for end in ends:
            if (written := self.places.get(path[:end])) is not None:
                return f"{prefix}.{written}{path[end:]}" if written else prefix
        return prefix

    def moved(self, finding: Finding, prefix: str) -> Finding:
        field = self.place(finding.field, prefix)
        return structs.replace(finding, field=field, message=_at(finding.message, finding.field, field))

    def refused(self, invalid: Invalid, prefix: str) -> Invalid:
        """The graph's wrong shape, where it was written."""
        places = ((each, self.place(each.field, prefix)) for each in invalid.problems)
        return Invalid(
            Problem(each.code, _at(each.message, each.field, place), place, each.details) for each, place in places
        )


def _at(message: str, field: str | None, place: str | None) -> str:
    """The message, which may begin with its field, where it was written."""
    return f"{place}: {message[len(field) + 2 :]}" if field and message.startswith(f"{field}: ") else message


Compile = Callable[[Any, str], Written]
"""From a raw definition and the prefix of its paths. Raises `Invalid` for a wrong shape."""


def free_id(wanted: str, taken: Mapping[str, Any] | set[str]) -> str:
    """An id for a component that nobody wrote."""
    while wanted in taken:
        wanted = f"_{wanted}"
    return wanted
