"""What is known of a run, and what can be asked of it. How its events make it is in `folds`.

A connection is settled when its source ended; it was then taken, or it is dead. A component is ready when every
connection into it is settled and at least one was taken; with none taken it is dead, will be skipped, and so on down.
That one rule serves forks, joins, choices, merges, and error connections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from executor.domain.definition import ComponentSpec, Graph
from executor.domain.events import Failure
from executor.domain.execution.parts import ComponentState, Header, Iteration, Loop, Signal
from executor.domain.execution.shards import Shards
from executor.domain.values import (
    ExecutionStatus,
    Instant,
    Progress,
    component_key,
    plus,
    seconds_between,
    split_key,
)


class State:
    """The fold. What a loop's body has is there once for each iteration under way: components go by their keys, `id`
    or `id@path` (of an iteration that has ended nothing is left but its output).

    `ready`, `dead`, `running`, `timers`, `waits`, `retries` say what can happen next; dicts keep order. `running` are
    components that an engine is at; `timers` those that wait for a time; `waits` those that wait for a signal, with
    its key (in both: for whichever comes first); `retries` those that wait for their next attempt. `signals` are
    those that came before anybody took them, by their keys.

    `loops` are those under way, `iterations` theirs, each by the key that the loop would have inside of it; `outputs`
    what iterations came to, by loop and index. `over` are iterations of which nothing is left to do, `asking` those
    whose loop must know whether it goes on, `finished` loops that have come to their end.

    `touched` are the components that the last call of `evolve` changed.
    """

    __slots__ = (
        "asking",
        "before_pause",
        "begun",
        "cancelled_by",
        "completed_at",
        "components",
        "dead",
        "duration",
        "engine",
        "epoch",
        "failure",
        "finished",
        "graph",
        "header",
        "iterations",
        "loops",
        "outputs",
        "over",
        "paused_at",
        "paused_by",
        "paused_seconds",
        "priority",
        "queued_at",
        "ready",
        "reason",
        "results",
        "retries",
        "running",
        "settled",
        "signals",
        "slots",
        "started_at",
        "status",
        "taken",
        "timers",
        "touched",
        "unsettled",
        "updated_at",
        "version",
        "waits",
    )

    def __init__(self) -> None:
        self.header: Header | None = None
        self.graph: Graph | None = None
        self.status: ExecutionStatus | None = None
        self.priority = 5
        self.version = 0
        self.engine: str | None = None
        self.epoch = 0
        self.slots: tuple[int | None, int | None] = (None, None)
        self.queued_at: Instant | None = None
        self.started_at: Instant | None = None
        self.paused_at: Instant | None = None
        self.paused_by: str | None = None
        self.paused_seconds = 0.0
        self.before_pause: ExecutionStatus | None = None
        self.completed_at: Instant | None = None
        self.updated_at: Instant | None = None
        self.duration: float | None = None
        self.results: dict[str, Any] | None = None
        self.failure: Failure | None = None
        self.cancelled_by: str | None = None
        self.reason: str | None = None
        self.settled = 0
        self.begun = 0
        self.components: Shards[ComponentState] = Shards()
        self.unsettled: dict[str, int] = {}
        self.taken: dict[str, int] = {}
        self.ready: dict[str, None] = {}
        self.dead: dict[str, None] = {}
        self.running: dict[str, None] = {}
        self.timers: dict[str, Instant] = {}
        self.waits: dict[str, str] = {}
        self.signals: dict[str, tuple[Signal, ...]] = {}
        self.retries: dict[str, Instant] = {}
        self.loops: dict[str, Loop] = {}
        self.iterations: dict[str, Iteration] = {}
        self.outputs: Shards[Any] = Shards()
        self.over: dict[str, None] = {}
        self.asking: dict[str, None] = {}
        self.finished: dict[str, None] = {}
        self.touched: dict[str, ComponentState] = {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State):
            return NotImplemented
        return all(
            getattr(self, name) == getattr(other, name) for name in self.__slots__ if name not in ("graph", "touched")
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def run(self) -> Header:
        """The header of a run that exists."""
        if self.header is None:
            raise LookupError("the execution does not exist")
        return self.header

    @property
    def map(self) -> Graph:
        """The graph of a run that exists."""
        if self.graph is None:
            raise LookupError("the execution does not exist")
        return self.graph

    @property
    def is_ended(self) -> bool:
        return self.status is not None and self.status.is_ended

    @property
    def is_paused(self) -> bool:
        return self.status is ExecutionStatus.PAUSED

    @property
    def is_busy(self) -> bool:
        """Something is ready or in an engine's hands: the run needs an owner now."""
        between = self.over or self.asking or self.finished
        return bool(self.ready or self.dead or self.running or between or self.signalled)

    @property
    def is_waiting(self) -> bool:
        """Something goes on when its time, or its signal, has come."""
        return bool(self.timers or self.waits or self.retries)

    @property
    def is_over(self) -> bool:
        """Nothing is left but to say how it ended: what came to that while the run was paused waits for an engine."""
        has_failed = self.failure is not None and self.map.definition.fail_fast
        return has_failed or not (self.is_busy or self.is_waiting)

    @property
    def opened(self) -> frozenset[str]:
        """The keys of what has a stream of its own and is waited for: children, tasks."""
        return frozenset(key for key in self.waits.values() if ":" in key)

    @property
    def holder(self) -> str | None:
        """The engine that is at a component of the run now; where there is none, any engine may take what is due."""
        return self.engine if self.running else None

    @property
    def signalled(self) -> list[tuple[str, Signal]]:
        """Components whose signal is there, each with the one that it gets: first come, first served. One that came
        after the time of who waits is for the next one."""
        if not self.waits or not self.signals:
            return []
        found, used = list[tuple[str, Signal]](), Counter[str]()
        for id, key in self.waits.items():
            kept, fires_at = self.signals.get(key, ()), self.timers.get(id)
            if used[key] < len(kept) and (fires_at is None or kept[used[key]].at <= fires_at):
                found.append((id, kept[used[key]]))
                used[key] += 1
        return found

    @property
    def deadline(self) -> Instant | None:
        """When it has run for as long as it may; the time in which it was paused does not count."""
        limit = self.map.definition.max_execution_time
        if limit is None or self.started_at is None:
            return None
        return plus(self.started_at, limit + self.paused_seconds)

    @property
    def queue_deadline(self) -> Instant | None:
        """When it has waited for as long as it may since it could have been taken."""
        limit, since = self.map.definition.queue_timeout, self.queued_at
        if limit is None or since is None:
            return None
        if self.status is ExecutionStatus.PENDING:
            at = self.run.scheduled_at
            return None if at is None else plus(max(at, since), limit)
        return plus(since, limit) if self.status is ExecutionStatus.QUEUED else None

    @property
    def is_below(self) -> bool:
        """Another run waits for it, and it runs in that one's place. One that was retried by itself does not."""
        return self.run.parent is not None and self.run.parent.waits

    @property
    def is_in_queue(self) -> bool:
        """It waits for its turn, or for its time and then for its turn. What runs below another has that one's."""
        if self.is_below or self.started_at is not None:
            return False
        is_due_once = self.status is ExecutionStatus.PENDING and self.run.scheduled_at is not None
        return self.status is ExecutionStatus.QUEUED or is_due_once

    @property
    def is_holding(self) -> bool:
        """It counts among those that run at once: from its start to its end, also while it waits or is paused."""
        return self.started_at is not None and not self.is_ended and not self.is_below

    @property
    def due_at(self) -> Instant | None:
        """The earliest time at which something happens by itself: a timer, a next attempt, the run's deadline."""
        if self.is_paused:
            return None
        times = [*self.timers.values(), *self.retries.values()]
        if self.deadline is not None:
            times.append(self.deadline)
        return min(times, default=None)

    @property
    def runnable_at(self) -> Instant | None:
        """When an engine should next look at this run: now if something can happen, else when it is due."""
        if self.is_ended or self.is_paused or self.status is None:
            return None
        if self.status is ExecutionStatus.PENDING:
            return self.run.scheduled_at
        is_now = self.started_at is None or self.is_busy or self.is_over
        return self.updated_at if is_now else self.due_at

    @property
    def progress(self) -> Progress:
        total = len(self.map.components)
        percentage = 100 if self.status is ExecutionStatus.COMPLETED else self.settled * 100 // total
        return Progress(
            current_component=self.current(),
            completed_components=self.settled,
            total_components=total,
            percentage=percentage,
        )

    def spec(self, key: str) -> ComponentSpec:
        return self.map.spec(split_key(key)[0])

    def output_of(self, loop: str, index: int) -> Any:
        """What an iteration of a loop came to. Raises `KeyError` where it has not."""
        return self.outputs[output_key(loop, index)]

    def inside(self, loop: str, index: int) -> Iterator[str]:
        """The keys of all that may be in one iteration of a loop, and in those inside of it: the innermost first."""
        id, path = split_key(loop)
        path = f"{path}.{index}" if path else str(index)
        for each in self.map.home[id].bodies[id].components:
            key = component_key(each, path)
            if key in self.loops:
                for inner in self.open_in(key):
                    yield from self.inside(key, inner)
            yield key

    def open_in(self, loop: str) -> list[int]:
        """The indices of a loop's iterations that are under way."""
        return [each.index for each in self.iterations.values() if each.loop == loop]

    def in_order(self) -> list[ComponentState]:
        """The components, in the order in which they began."""
        return sorted(self.components.values(), key=lambda known: known.sequence)

    def current(self, *, without: str | None = None) -> str | None:
        """The id of the component that began last of those that are at work, else of those that wait."""
        for held in (self.running, self.timers, self.waits, self.loops):
            for key in reversed(held):
                if key != without:
                    return split_key(key)[0]
        return None

    def elapsed(self, now: Instant) -> float | None:
        """Seconds that the run took until its end, or until now; None before it started."""
        if self.duration is not None or self.started_at is None:
            return self.duration
        return seconds_between(self.started_at, self.completed_at or now)


_COPIED: Final = (
    *("components", "unsettled", "taken", "ready", "dead", "running", "timers", "waits", "signals", "retries"),
    *("loops", "iterations", "outputs", "over", "asking", "finished"),
)


_SHARED: Final = tuple(name for name in State.__slots__ if name not in (*_COPIED, "touched"))


def output_key(loop: str, index: int) -> str:
    return f"{loop}#{index}"


def initial() -> State:
    return State()


def copied(state: State) -> State:
    """A state of its own to fold into, with nothing touched yet."""
    draft = State.__new__(State)
    for name in _SHARED:
        setattr(draft, name, getattr(state, name))
    for name in _COPIED:
        held = getattr(state, name)
        setattr(draft, name, held.copy() if held else type(held)())
    draft.touched = {}
    return draft
