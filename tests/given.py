"""Given events, when a command, then events: how deciders are tested.

    given(AGGREGATE, created, activated).when(decide_archive).then(like(WorkflowArchived, status="archived"))
    given(AGGREGATE).when(decide_archive).refused(Code.RESOURCE_NOT_FOUND)

Events are folded with provisional stamps, a second apart; a `Fact` brings its own. A decider is called with the state
first and the command's arguments after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import ndiff
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import structs

from executor.domain.aggregate import Aggregate
from executor.domain.errors import Code, Refusal
from executor.domain.events import Event, Fact, Stamp
from executor.domain.values import Instant, plus

S = TypeVar("S")

START = Instant("2026-01-31T12:00:00.000Z")
ORGANIZATION = "01JZ0000000000000000000000"
SUBJECT = "01JZ0000000000000000000001"
PERSON = "01JZ0000000000000000000002"


class Like:
    """An event of one type of which only some fields matter."""

    def __init__(self, cls: type[Event], fields: dict[str, Any]) -> None:
        unknown = fields.keys() - set(cls.__struct_fields__)
        assert not unknown, f"{cls.__name__} has no fields {sorted(unknown)}"
        self.cls, self.fields = cls, fields

    def cut(self, event: Event) -> str:
        """The event shown with only the fields that matter; another type is shown by its name."""
        if type(event) is not self.cls:
            return event.type
        return _shown(event.type, {name: getattr(event, name) for name in self.fields})

    def __repr__(self) -> str:
        return _shown(self.cls.type, self.fields)


def like(cls: type[Event], **fields: Any) -> Like:
    return Like(cls, fields)


def stamped(events: Sequence[Event | Fact], *, id: str = SUBJECT) -> list[Fact]:
    """Facts of one stream, a second apart from each other."""
    return [
        event
        if isinstance(event, Fact)
        else Fact(event, Stamp(plus(START, version - 1), ORGANIZATION, id, version, f"api_key:{PERSON}"))
        for version, event in enumerate(events, start=1)
    ]


def given(aggregate: Aggregate[S], *events: Event | Fact) -> Given[S]:
    return Given(aggregate, stamped(events))


class Given(Generic[S]):
    def __init__(self, aggregate: Aggregate[S], facts: Sequence[Fact]) -> None:
        self.aggregate, self.facts = aggregate, facts
        self.state: S = aggregate.evolve(aggregate.initial(), facts)

    def when(self, decide: Callable[..., Sequence[Event]], *arguments: Any, **named: Any) -> Outcome[S]:
        try:
            return Outcome(self, list(decide(self.state, *arguments, **named)), None)
        except Refusal as refusal:
            return Outcome(self, [], refusal)


class Outcome(Generic[S]):
    def __init__(self, before: Given[S], events: list[Event], refusal: Refusal | None) -> None:
        self.before, self.events, self.refusal = before, events, refusal

    @property
    def state(self) -> S:
        """The fold of what was given and of what was decided."""
        assert self.refusal is None, f"refused: {self.refusal}"
        return given(self.before.aggregate, *self.before.facts, *self.events).state

    def then(self, *expected: Event | Like) -> Outcome[S]:
        """Exactly these events, in this order; of a `like(…)` only the fields that it names."""
        assert self.refusal is None, f"refused: {self.refusal}"
        wanted = [repr(each) if isinstance(each, Like) else whole(each) for each in expected]
        got = [
            each.cut(event) if isinstance(each, Like) else whole(event)
            for each, event in zip(expected, self.events, strict=False)
        ]
        got += [event.type for event in self.events[len(expected) :]]
        assert got == wanted, "\n" + "\n".join(ndiff(wanted, got))
        return self

    def then_nothing(self) -> None:
        self.then()

    def refused(self, code: Code, *, contains: str = "", field: str | None = None) -> Refusal:
        assert self.refusal is not None, f"not refused, but decided {[event.type for event in self.events]}"
        assert self.refusal.code == code
        assert contains in str(self.refusal)
        assert field is None or self.refusal.problems[0].field == field
        return self.refusal


def whole(event: Event) -> str:
    return _shown(event.type, structs.asdict(event))


def _shown(type: str, fields: dict[str, Any]) -> str:
    """With values as the log has them, in JSON: there an enum is its text and a tuple a list."""
    return f"{type}({', '.join(f'{name}={msgspec.json.encode(fields[name]).decode()}' for name in sorted(fields))})"
