"""Which events an endpoint wants: its patterns and its filters.

A pattern is a type (`execution.completed`), all of one kind (`execution.*`), one fact of all kinds (`*.failed`), or
`*`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from executor.domain.events import CATALOGUE, Event
from executor.expressions import ExpressionError, is_true
from webhooks.endpoint import ENDS, State

CONDITION_VARIABLES: Final = ("event", "data")
"""What a filter's condition sees: those two fields of the request's body."""


def matches(pattern: str, type: str) -> bool:
    if pattern == "*":
        return True
    wanted, given = pattern.split("."), type.split(".")
    return len(wanted) == len(given) and all(w in ("*", g) for w, g in zip(wanted, given, strict=True))


def types_of(patterns: Iterable[str]) -> frozenset[str]:
    """The known event types that any of the patterns matches."""
    return _types_of(tuple(patterns))


@lru_cache(1024)
def _types_of(patterns: tuple[str, ...]) -> frozenset[str]:
    return frozenset(type for type in CATALOGUE if any(matches(pattern, type) for pattern in patterns))


class Matcher:
    """One endpoint's wishes. The questions go from cheap to dear: ask the next one only where the last said yes."""

    def __init__(self, state: State, patterns: Iterable[str] | None = None) -> None:
        """`patterns` in place of the endpoint's own."""
        if state.endpoint is None:
            raise ValueError("an endpoint that was never created wants nothing")
        self.webhook_id = state.id
        self.shard = state.shard
        filters = state.endpoint.filters
        self.is_callback = state.endpoint.is_callback
        types = types_of(state.endpoint.events if patterns is None else patterns)
        self.types = types & ENDS if self.is_callback else types
        self.workflows = frozenset(filters.workflow_ids)
        self._projects = frozenset(filters.project_ids)
        self._priorities = frozenset(filters.priority_levels)
        self._condition = filters.condition
        self.has_priorities = bool(self._priorities)
        self.has_projects = bool(self._projects)
        self.has_condition = self._condition is not None

    def wants_type(self, type: str, workflow_id: str | None) -> bool:
        return type in self.types and (not self.workflows or workflow_id in self.workflows)

    def wants_event(self, event: Event) -> bool:
        """Where priorities are asked for, an event that has none is not wanted."""
        return not self.has_priorities or getattr(event, "priority", None) in self._priorities

    def wants_project(self, project_id: str | None) -> bool:
        return not self.has_projects or project_id in self._projects

    def wants_body(self, event: str, data: Any) -> bool:
        """A condition that errs (a field that this event does not have) is not met."""
        if self._condition is None:
            return True
        try:
            return is_true(self._condition, {"event": event, "data": data}, CONDITION_VARIABLES)
        except ExpressionError:
            return False


class Audience:
    """The active endpoints of an organization, found by what they wish: of ten thousand that wish for something else,
    none is looked at."""

    def __init__(self) -> None:
        self._all: dict[str, Matcher] = {}
        self._by_type: defaultdict[str, dict[str, Matcher]] = defaultdict(dict)
        self._by_workflow: defaultdict[str, dict[str, Matcher]] = defaultdict(dict)
        self.callbacks: dict[str, Matcher] = {}
        """Found by their ids alone: a run names its own."""

    def set(self, matcher: Matcher) -> None:
        self.drop(matcher.webhook_id)
        self._all[matcher.webhook_id] = matcher
        for where in self._places(matcher):
            where[matcher.webhook_id] = matcher

    def drop(self, webhook_id: str) -> None:
        matcher = self._all.pop(webhook_id, None)
        if matcher is not None:
            for where in self._places(matcher):
                where.pop(webhook_id, None)

    def of(self, type: str, workflow_id: str | None) -> list[Matcher]:
        """Those that may want an event, but for callbacks."""
        found = [*self._by_type[type].values()] if type in self._by_type else []
        if workflow_id is not None and workflow_id in self._by_workflow:
            found += self._by_workflow[workflow_id].values()
        return found

    def _places(self, matcher: Matcher) -> list[dict[str, Matcher]]:
        if matcher.is_callback:
            return [self.callbacks]
        if matcher.workflows:
            return [self._by_workflow[workflow] for workflow in matcher.workflows]
        return [self._by_type[type] for type in matcher.types]
