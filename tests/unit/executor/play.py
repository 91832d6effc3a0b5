"""A play: one execution, acted on as an engine would, decision by decision, on a clock of its own.

    play = Play(flow("start > a > end", "a !> rescue")).claim().complete("start")
    play.fail("a")
    assert play.running == ["rescue"]

`flow` reads chains of ids: `>` is a success connection, `!>` an error one, `?>` a conditional one. The component
`start` is of type start, those whose ids begin with `end` are ends, all others logs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from executor.domain.definition import ComponentSpec, Connection, ConnectionType, Definition
from executor.domain.events import CATALOGUE, Event, Fact, Failure, Stamp
from executor.domain.events import execution as events
from executor.domain.execution.decide import (
    Completed,
    Creation,
    Failed,
    Input,
    LogLine,
    SignalDue,
    Suspended,
    TimerDue,
    decide_advance,
    decide_claim,
    decide_create,
)
from executor.domain.execution.decision import MOST_EVENTS
from executor.domain.execution.folds import evolve
from executor.domain.execution.lifecycle import (
    decide_cancel,
    decide_pause,
    decide_reprioritize,
    decide_resume,
    decide_signal,
    decide_start,
    decide_terminate,
)
from executor.domain.execution.parts import Signal
from executor.domain.execution.retry import Retry, decide_retry
from executor.domain.execution.rows import AGGREGATE
from executor.domain.execution.state import State, initial
from executor.domain.values import Instant, RetryPolicy, plus, seconds_between
from tests.given import ORGANIZATION, PERSON, START, SUBJECT, Given

_ARROW = re.compile(r"\s*([!?]?>)\s*")
_KINDS = {">": ConnectionType.SUCCESS, "!>": ConnectionType.ERROR, "?>": ConnectionType.CONDITIONAL}
_TYPES = {"start": "start", "end": "end"}
FAILURE = Failure(code="COMPONENT_ERROR", message="it broke")


def flow(*chains: str, retry: dict[str, RetryPolicy] | None = None, **more: Any) -> Definition:
    ids: dict[str, None] = {}
    connections: list[Connection] = []
    for chain in chains:
        first, *rest = _ARROW.split(chain.strip())
        ids[first] = None
        source = first
        for arrow, target in zip(rest[::2], rest[1::2], strict=True):
            ids[target] = None
            kind = _KINDS[arrow]
            condition = "true" if kind is ConnectionType.CONDITIONAL else None
            connections.append(Connection(source=source, target=target, type=kind, condition=condition))
            source = target
    components = tuple(
        ComponentSpec(id=id, type=_TYPES.get(re.split(r"[-_\d]", id)[0], "log"), retry=(retry or {}).get(id))
        for id in ids
    )
    return Definition(components=components, connections=tuple(connections), **more)


def looping(id: str, body: Definition | None = None, **config: Any) -> Definition:
    """A start and a loop, by default over two items; inside of it `work`, unless a body is given."""
    inner = msgspec.to_builtins(body or Definition(components=(ComponentSpec(id="work", type="log"),)))
    given = {"items": ["x", "y"]} | config
    if given["items"] is None:
        del given["items"]
    return Definition(
        components=(
            ComponentSpec(id="start", type="start"),
            ComponentSpec(id=id, type="loop", config={"body": inner} | given),
        ),
        connections=(Connection(source="start", target=id),),
    )


class Play:
    """`now` moves only by `tick`. Every decision is folded in one batch, as the store does it."""

    def __init__(
        self,
        definition: Definition,
        parameters: dict[str, Any] | None = None,
        *,
        scheduled_at: Instant | None = None,
        **creation: Any,
    ) -> None:
        self.now = START
        self.state: State = initial()
        self.facts: list[Fact] = []
        self.latest: list[Event] = []
        fields: dict[str, Any] = {
            "workflow_id": "01JZ0000000000000000000009",
            "workflow_name": "report",
            "workflow_version": 1,
            "workflow_status": "active",
            "definition": definition,
            "parameters": parameters or {},
            "priority": 5,
            "tags": (),
            "project_id": None,
            "scheduled_at": scheduled_at,
            "created_by": PERSON,
        }
        self._happen(decide_create(self.state, Creation(**(fields | creation)), self.now))

    def _happen(self, decided: list[Event]) -> Play:
        first = self.state.version + 1
        fresh = [
            Fact(event, Stamp(self.now, ORGANIZATION, SUBJECT, first + index)) for index, event in enumerate(decided)
        ]
        self.facts += fresh
        self.state = evolve(self.state, fresh)
        self.latest = decided
        return self

    # acts

    def tick(self, seconds: float) -> Play:
        self.now = plus(self.now, seconds)
        return self

    def claim(self, engine: str = "engine-1") -> Play:
        return self._happen(decide_claim(self.state, engine, self.now))._go_on()

    def _go_on(self) -> Play:
        """A wide run is decided in pieces."""
        while len(self.latest) >= MOST_EVENTS:
            self._happen(decide_advance(self.state, self.state.epoch, (), self.now))
        return self

    def take(self, *inputs: Input, epoch: int | None = None, may_start: bool = True) -> Play:
        said = self.state.epoch if epoch is None else epoch
        return self._happen(decide_advance(self.state, said, inputs, self.now, may_start=may_start))._go_on()

    def drain(self, *inputs: Input) -> Play:
        """They arrive at an engine that is about to leave."""
        return self.take(*inputs, may_start=False)

    def complete(
        self, *ids: str, output: Any = None, to: Sequence[str] | None = None, logs: Sequence[str] = ()
    ) -> Play:
        """They complete, together; `to` are the targets whose connections were found true (all success ones)."""
        return self.take(*(self.completed(id, output=output, to=to, logs=logs) for id in ids))

    def fail(self, *ids: str, temporary: bool = False, to: Sequence[str] | None = None, jitter: float = 0.0) -> Play:
        return self.take(*(self.failed(id, temporary=temporary, to=to, jitter=jitter) for id in ids))

    def suspend(self, id: str, seconds: float | None, signal: str | None = None) -> Play:
        until = None if seconds is None else plus(self.now, seconds)
        return self.take(Suspended(id, self.attempt(id), until, signal))

    def ring(self, id: str, output: Any = None, to: Sequence[str] | None = None) -> Play:
        return self.take(TimerDue(id, output, self.taken(id, (">", "?>"), to)))

    def hear(self, **outputs: Any) -> Play:
        """An engine finds the signals that are there; who waits for one ends with its data, or with what is said."""
        found = self.state.signalled
        return self.take(*(self.heard(id, signal, outputs.get(id, signal.data)) for id, signal in found))

    def pause(self, reason: str | None = None) -> Play:
        return self._happen(decide_pause(self.state, PERSON, reason, self.now))

    def resume(self, reason: str | None = None) -> Play:
        return self._happen(decide_resume(self.state, PERSON, reason, self.now))

    def start(self) -> Play:
        return self._happen(decide_start(self.state, PERSON, self.now))

    def reprioritize(self, priority: int) -> Play:
        return self._happen(decide_reprioritize(self.state, priority, PERSON, self.now))

    def signal(self, key: str, data: Any = None) -> Play:
        return self._happen(decide_signal(self.state, key, data, self.now))

    def terminate(self, reason: str | None = None) -> Play:
        return self._happen(decide_terminate(self.state, PERSON, reason, self.now))

    def retry(
        self,
        from_component: str | None = None,
        *,
        on: Definition | None = None,
        taken: dict[str, tuple[int, ...]] | None = None,
        **parameters: Any,
    ) -> Play:
        """`on` another version's definition, where the completed components take what is said."""
        version = self.state.run.workflow_version + (on is not None)
        asked = Retry(PERSON, None, from_component, parameters, version, on, taken or {})
        return self._happen(decide_retry(self.state, asked))

    def cancel(self, by: str = PERSON, reason: str | None = None) -> Play:
        return self._happen(decide_cancel(self.state, by, reason, self.now))

    # inputs

    def completed(
        self, id: str, *, output: Any = None, to: Sequence[str] | None = None, logs: Sequence[str] = ()
    ) -> Completed:
        lines = tuple(LogLine(level="info", message=message) for message in logs)  # type: ignore[arg-type]
        return Completed(id, self.attempt(id), output, self.taken(id, (">", "?>"), to), lines)

    def heard(self, id: str, signal: Signal, output: Any) -> SignalDue:
        return SignalDue(signal.number, self.completed(id, output=output))

    def failed(
        self, id: str, *, temporary: bool = False, to: Sequence[str] | None = None, jitter: float = 0.0
    ) -> Failed:
        return Failed(id, self.attempt(id), FAILURE, temporary, self.taken(id, ("!>",), to), jitter)

    def taken(self, id: str, arrows: Sequence[str], to: Sequence[str] | None) -> tuple[int, ...]:
        """By default a success connection is taken at completion, an error one at failure, no conditional one."""
        kinds, id = {_KINDS[arrow] for arrow in arrows}, id.partition("@")[0]
        graph = self.state.map.home[id]
        return tuple(
            index
            for index in graph.outgoing[id]
            if (connection := graph.connections[index]).type in kinds
            and (connection.target in to if to is not None else connection.type is not ConnectionType.CONDITIONAL)
        )

    def targets(self, id: str) -> list[str]:
        """Where the component's connections lead."""
        id = id.partition("@")[0]
        return list(self.state.map.home[id].targets(id))

    def attempt(self, id: str) -> int:
        return self.state.components[id].attempt

    # what there is to see

    @property
    def events(self) -> list[Event]:
        return [fact.event for fact in self.facts]

    @property
    def given(self) -> Given[State]:
        return Given(AGGREGATE, self.facts)

    @property
    def status(self) -> str:
        return str(self.state.status)

    @property
    def running(self) -> list[str]:
        return list(self.state.running)

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]

    def statuses(self) -> dict[str, str]:
        return {id: str(known.status) for id, known in self.state.components.items()}

    def of(self, cls: type[Event], id: str | None = None) -> list[Any]:
        return [
            event
            for event in self.events
            if isinstance(event, cls) and (id is None or getattr(event, "component_id", None) == id)
        ]

    def runnable_in(self) -> float | None:
        """Seconds from now until an engine should look at it; None for never."""
        at = self.state.runnable_at
        return None if at is None else seconds_between(self.now, at) if at > self.now else 0.0


def through_json(fact: Fact) -> Fact:
    """The fact as a store would give it back."""
    data = msgspec.json.encode(fact.event)
    return Fact(msgspec.json.decode(data, type=CATALOGUE[fact.event.type]), fact.stamp)


__all__ = ["FAILURE", "Play", "events", "flow", "through_json"]
