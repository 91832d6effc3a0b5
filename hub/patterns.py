"""Patterns of event types as clients write them: `execution.completed`, `execution.*`, `*.failed`, `*`."""

from __future__ import annotations

from collections.abc import Sequence

from executor.domain.errors import Code, Invalid, Problem
from executor.domain.events import CATALOGUE
from webhooks.matching import types_of


def wanted_types(patterns: Sequence[str], field: str = "types") -> tuple[str, ...]:
    """The types that match any of the patterns, sorted; empty, which is no filter, for none and where all match.

    Raises `Invalid` for a pattern that no type matches: it would silently find nothing.
    """
    wrong = [pattern for pattern in patterns if not types_of((pattern,))]
    if wrong:
        raise Invalid(
            [Problem(Code.VALIDATION_ERROR, f"no type of event matches '{pattern}'", field) for pattern in wrong]
        )
    found = types_of(patterns)
    return () if len(found) == len(CATALOGUE) else tuple(sorted(found))
