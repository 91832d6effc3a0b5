"""Patterns of event types, as queries have them: `execution.*`, `*.failed`, `workflow.created`, `*`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def expand(patterns: Sequence[str], types: Iterable[str]) -> list[str] | None:
    """The types that match any of the patterns, of those there are; null where every type does."""
    if not patterns or "*" in patterns:
        return None
    return sorted(type for type in types if any(_matches(pattern, type) for pattern in patterns))


def _matches(pattern: str, type: str) -> bool:
    if pattern.endswith(".*"):
        return type.startswith(pattern[:-1])
    if pattern.startswith("*."):
        return type.endswith(pattern[1:])
    return type == pattern
