"""What holds of every execution: any graph, any results, any order of completions, signals, pauses, takeovers,
cancellations and retries."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from executor.domain.definition import ComponentSpec, Connection, ConnectionType, Definition, Graph
from executor.domain.errors import Invalid
from executor.domain.events import ComponentFacts
from executor.domain.events import execution as events
from executor.domain.execution.decide import SignalDue, Suspended, TimerDue, decide_advance
from executor.domain.execution.folds import evolve
from executor.domain.execution.lifecycle import decide_cancel
from executor.domain.execution.retry import same
from executor.domain.execution.rows import AGGREGATE, ComponentRow, ExecutionRow
from executor.domain.execution.state import State, initial
from executor.domain.values import RetryPolicy, plus
from tests.given import PERSON
from tests.unit.executor.play import Play, through_json

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ENDS = (events.ExecutionCompleted, events.ExecutionFailed, events.ExecutionCancelled)
MOST_ACTS = 200
MOST_ENGINES = 6
MOST_PAUSES = 4
MOST_RETRIES = 2


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    """Acyclic graphs with one start, connections of all kinds (also twice between the same two), stray roots."""
    ids = ["start", *(f"{draw(st.sampled_from(['a', 'end']))}{n}" for n in range(draw(st.integers(0, 8))))]
    policies = st.none() | st.builds(
        RetryPolicy, max_attempts=st.integers(1, 3), initial_delay_seconds=st.sampled_from([0.0, 5.0])
    )
    components = tuple(
        ComponentSpec(id=id, type="start" if id == "start" else "end" if "end" in id else "log", retry=draw(policies))
        for id in ids
    )
    connections: list[Connection] = []
    for number, target in enumerate(ids[1:], start=1):
        for source in draw(st.lists(st.sampled_from(ids[:number]), max_size=3)):
            kind = draw(st.sampled_from(ConnectionType))
            condition = "true" if kind is ConnectionType.CONDITIONAL else None
            connections.append(Connection(source=source, target=target, type=kind, condition=condition))
    return Definition(
        components=components,
        connections=tuple(connections),
        fail_fast=draw(st.booleans()),
        max_execution_time=draw(st.none() | st.just(60.0)),
    )


class Director:
    """Draws what happens next. Everything that could happen in life has its turn, in any order."""

    def __init__(
        self, data: st.DataObject, definition: Definition, may_cancel: bool, may_retry: bool, may_change: bool
    ) -> None:
        self.data, self.may_cancel, self.may_retry, self.may_change = data, may_cancel, may_retry, may_change
        self.play = Play(definition)
        self.engines = self.pauses = self.retries = 0
        self.is_leaving = False
        self.seen: list[State] = [self.play.state]
        self.left: list[State] = []
        """Those of `seen` that no engine that stays brought about: one that leaves, or a person."""

    def choose(self, *options: Any) -> Any:
        return self.data.draw(st.sampled_from(options))

    def run(self) -> Play:
        for _ in range(MOST_ACTS):
            if self.play.state.is_ended and not self.retried():
                return self.play
            is_ours = self.act()
            self.seen.append(self.play.state)
            if self.is_leaving or not is_ours:
                self.left.append(self.play.state)
        raise AssertionError(f"the run did not end: {self.play.types[-20:]}")

    def retried(self) -> bool:
        """A run that ended may go on, from anywhere that is not refused."""
        play = self.play
        may = self.may_retry and play.status in ("failed", "cancelled") and self.retries < MOST_RETRIES
        if not may or not self.data.draw(st.booleans()):
            return False
        self.retries += 1
        self.engines = 0
        self.is_leaving = False
        if self.may_change and self.data.draw(st.booleans()):
            self.retry_on(self.data.draw(definitions()))
        else:
            self.retry(self.choose(None, *play.state.map.components))
        return True

    def retry_on(self, definition: Definition) -> None:
        """Another version, with some components of the same ids, of which some err now."""
        graph = Graph(definition)
        taken = {
            known.id: tuple(index for index in graph.outgoing[known.id] if self.data.draw(st.booleans()))
            for known in same(self.play.state, graph)
            if self.data.draw(st.booleans())
        }
        self.retry(self.choose(None, *graph.components), on=definition, taken=taken)

    def retry(self, start: str | None, **other: Any) -> None:
        try:
            self.play.retry(start, **other)
        except Invalid:
            self.play.retry(**other)

    def act(self) -> bool:
        """False where it was a person, not an engine, who did something."""
        if self.is_persons_turn():
            return False
        play = self.play
        may_change = self.engines < MOST_ENGINES
        if self.engines == 0 or (may_change and self.data.draw(st.integers(0, 9)) == 9):
            self.claim()
        elif self.is_leaving and not play.running:
            play.tick(play.runnable_in() or 0.0)
            self.claim()
        elif play.running:
            self.is_leaving = self.is_leaving or (may_change and self.data.draw(st.integers(0, 9)) == 9)
            play.take(*(self.result(id) for id in self.some(play.running)), may_start=not self.is_leaving)
        elif play.state.signalled:
            play.take(*(play.heard(id, signal, signal.data) for id, signal in play.state.signalled))
        else:
            play.tick(play.runnable_in() or 0.0)
            play.take(*(self.due(id) for id in list(play.state.timers)))
        return True

    def is_persons_turn(self) -> bool:
        """Somebody pauses the run, lets it go on, signals it, or cancels it."""
        play = self.play
        if play.state.is_paused:
            play.tick(self.choose(0, 1, 100))
            if play.running and self.data.draw(st.booleans()):
                play.take(*(self.result(id) for id in self.some(play.running)))
            else:
                play.resume()
        elif self.pauses < MOST_PAUSES and self.data.draw(st.integers(0, 9)) == 9:
            self.pauses += 1
            play.pause()
        elif self.may_cancel and self.data.draw(st.integers(0, 19)) == 19:
            play.cancel()
        elif play.runnable_in() is None and not play.running:
            assert play.state.waits, "nothing runs and nothing is due, but the run goes on"
            play.signal(self.choose(*play.state.waits.values()), 1)
        elif self.data.draw(st.integers(0, 19)) == 19:
            play.signal(self.choose("x", "y"), 2)
        else:
            return False
        return True

    def claim(self) -> None:
        self.engines += 1
        self.is_leaving = False
        self.play.claim(f"engine-{self.engines}")

    def some(self, ids: list[str]) -> list[str]:
        return list(self.data.draw(st.permutations(ids)))[: self.data.draw(st.integers(1, len(ids)))]

    def result(self, id: str) -> Any:
        play = self.play
        match self.choose("completed", "completed", "failed", "temporary", "suspended"):
            case "completed":
                return play.completed(id, output=self.choose(None, {"x": 1}, [2.5]), to=self.targets(id))
            case "suspended":
                return self.suspended(id)
            case kind:
                return play.failed(id, temporary=kind == "temporary", to=self.targets(id))

    def suspended(self, id: str) -> Any:
        until = plus(self.play.now, self.choose(-1, 0, 3, 30))
        signal = self.choose(None, "x", "y")
        is_endless = signal is not None and self.data.draw(st.booleans())
        return Suspended(id, self.play.attempt(id), None if is_endless else until, signal)

    def due(self, id: str) -> TimerDue:
        return TimerDue(id, None, self.play.taken(id, (">", "?>"), self.targets(id)))

    def targets(self, id: str) -> list[str]:
        return [target for target in self.play.targets(id) if self.data.draw(st.booleans())]


def directed(
    data: st.DataObject, may_cancel: bool = False, may_retry: bool = False, may_change: bool = False
) -> Director:
    director = Director(data, data.draw(definitions()), may_cancel, may_retry, may_change)
    director.run()
    return director


@given(st.data())
@FEW
def test_every_run_ends_in_a_legal_state(data: st.DataObject) -> None:
    play = directed(data, may_cancel=True).play
    state = play.state
    assert play.status in ("completed", "failed", "cancelled")
    assert sum(isinstance(event, ENDS) for event in play.events) == 1
    assert isinstance(play.events[-1], ENDS), "nothing happens after the end"
    assert not any((state.ready, state.dead, state.running, state.timers, state.waits, state.retries))
    assert all(known.status.is_settled for known in state.components.values())
    assert state.settled == len(state.components)
    assert state.runnable_at is None
    assert state.completed_at is not None
    assert (state.failure is not None) == (play.status == "failed") or play.status == "cancelled"


@given(st.data())
@FEW
def test_a_completed_run_has_settled_every_component_by_the_rule(data: st.DataObject) -> None:
    play = directed(data, may_retry=True, may_change=True).play
    if play.status != "completed":
        return
    state, graph = play.state, play.state.map
    assert state.components.keys() >= graph.components.keys(), "another version may have had more"
    assert state.progress.percentage == 100
    for id, known in [(id, state.components[id]) for id in graph.components]:
        sources = [(index, state.components[graph.connections[index].source]) for index in graph.incoming[id]]
        was_led_to = any(index in source.taken for index, source in sources) or id == "start"
        assert (str(known.status) == "skipped") == (not was_led_to)
        for _, source in sources:
            has_run = source.completed_at is not None and str(source.status) != "skipped"
            if known.started_at is not None and has_run:
                assert source.completed_at <= known.started_at, "a component starts when all that lead to it ended"


@given(st.data())
@FEW
def test_folding_the_events_in_any_batches_gives_the_state_that_deciding_gave(data: st.DataObject) -> None:
    play = directed(data, may_cancel=True, may_retry=True, may_change=True).play
    facts = [through_json(fact) for fact in play.facts]
    one_by_one = initial()
    for fact in facts:
        one_by_one = evolve(one_by_one, [fact])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(facts)), max_size=4)))
    batched = initial()
    for start, end in zip([0, *cuts], [*cuts, len(facts)], strict=True):
        batched = evolve(batched, facts[start:end])
    assert one_by_one == batched == evolve(initial(), facts) == play.state


@given(st.data())
@FEW
def test_a_component_never_runs_twice_without_another_attempt_number(data: st.DataObject) -> None:
    play = directed(data, may_cancel=True, may_retry=True).play
    started = Counter(
        (event.component_id, event.generation, event.attempt) for event in play.of(events.ComponentStarted)
    )
    assert not started or max(started.values()) == 1
    for id, known in play.state.components.items():
        attempts = [event.attempt for event in play.of(events.ComponentStarted, id)]
        assert attempts == list(range(1, len(attempts) + 1))
        ends = [event for event in play.events if isinstance(event, ComponentFacts) and event.component_id == id]
        settled = [event for event in ends if event.status in ("completed", "failed", "skipped", "cancelled")]
        assert len(settled) == known.generation + 1, "once, and once more after each retry that did not keep it"
        policy = play.state.map.components[id].retry or RetryPolicy()
        again = len(play.of(events.ComponentRetryScheduled, id))
        assert again <= (policy.max_attempts - 1) * (known.generation + 1)


@given(st.data())
@FEW
def test_progress_never_decreases_and_epochs_only_grow(data: st.DataObject) -> None:
    director = directed(data, may_cancel=True)
    shown = [event.progress for event in director.play.events if hasattr(event, "progress")]
    for name in ("completed_components", "percentage"):
        values = [getattr(progress, name) for progress in shown]
        assert values == sorted(values)
    assert all(progress.completed_components <= progress.total_components for progress in shown)
    epochs = [event.epoch for event in director.play.events if hasattr(event, "epoch")]
    assert epochs == list(range(1, len(epochs) + 1))


@given(st.data())
@FEW
def test_nothing_changes_what_has_ended(data: st.DataObject) -> None:
    director = directed(data, may_cancel=True)
    state = director.play.state
    late = [
        director.play.completed(id) for before in director.seen for id in before.running if id in state.components
    ]
    assert decide_advance(state, state.epoch, late, director.play.now) == []


@given(st.data())
@FEW
def test_at_every_moment_someone_or_some_time_brings_the_run_on(data: st.DataObject) -> None:
    """No wake-up is lost: a live run is busy (its owner, or whoever takes over, goes on) or has a time to wake."""
    director = directed(data)
    for state in director.seen:
        assert state.is_ended or state.is_paused or state.waits or state.runnable_at is not None
        if state.started_at is not None and not state.is_paused:
            was_left = any(state is each for each in director.left)
            assert was_left or not state.ready, "what is ready starts in the same append"
            assert was_left or not state.dead, "what is dead is skipped in the same append"
            assert (state.holder is not None) == bool(state.running), "nobody holds it but who is at something"
            is_due = bool(state.ready or state.signalled)
            assert not is_due or state.runnable_at == state.updated_at, "what can go on is due at once"


@given(st.data())
@FEW
def test_engines_that_leave_make_no_attempt_more_than_one_that_stays(data: st.DataObject) -> None:
    director = directed(data)
    play, cut_short = director.play, 0
    for before, after in pairwise(director.seen):
        if after.epoch > before.epoch:
            cut_short += len(before.running)
    attempts = len(play.of(events.ComponentStarted))
    first = len({event.component_id for event in play.of(events.ComponentStarted)})
    again = len(play.of(events.ComponentRetryScheduled))
    assert attempts <= first + again + cut_short


@given(st.data())
@FEW
def test_a_run_can_be_cancelled_at_any_moment(data: st.DataObject) -> None:
    director = directed(data)
    state = data.draw(st.sampled_from([state for state in director.seen if not state.is_ended]))
    decided = decide_cancel(state, PERSON, None, director.play.now)
    unsettled = {id for id, known in state.components.items() if not known.status.is_settled}
    assert {event.component_id for event in decided[:-1] if isinstance(event, events.ComponentCancelled)} == unsettled
    assert len(decided) == len(unsettled) + 1


@given(st.data())
@FEW
def test_rows_upserted_decision_by_decision_are_those_of_a_rebuild(data: st.DataObject) -> None:
    director = directed(data, may_cancel=True, may_retry=True, may_change=True)
    table: dict[tuple[str, ...], Any] = {}
    state, facts = initial(), director.play.facts
    cuts = sorted(set(data.draw(st.lists(st.integers(1, len(facts)), max_size=6))) | {len(facts)})
    for start, end in zip([0, *cuts], cuts, strict=False):
        after = evolve(state, facts[start:end])
        for row in AGGREGATE.rows(state, after):
            assert isinstance(row, ExecutionRow | ComponentRow)
            table[tuple(getattr(row, name) for name in ("table", *row.key))] = row
        state = after
    rebuilt = AGGREGATE.rows(initial(), evolve(initial(), facts))
    assert table == {tuple(getattr(row, name) for name in ("table", *row.key)): row for row in rebuilt}


class Oracle:
    """What becomes of each attempt at each component, whoever asks and whenever."""

    def __init__(self, data: st.DataObject, definition: Definition) -> None:
        self.data, self.play = data, Play(definition)
        self.known: dict[tuple[str, int], tuple[str, list[str], int]] = {}

    def decided(self, play: Play, id: str) -> tuple[str, list[str], int]:
        draw, key = self.data.draw, (id, play.state.components[id].failures)
        if key not in self.known:
            targets = [target for target in play.targets(id) if draw(st.booleans())]
            kind = draw(st.sampled_from(["completed", "completed", "failed", "temporary", "timer", "signal"]))
            self.known[key] = kind, targets, draw(st.sampled_from([1, 30]))
        return self.known[key]

    def of(self, play: Play, id: str) -> Any:
        kind, targets, seconds = self.decided(play, id)
        match kind:
            case "completed":
                return play.completed(id, output={id: seconds}, to=targets)
            case "timer":
                return Suspended(id, play.attempt(id), plus(play.now, seconds))
            case "signal":
                return Suspended(id, play.attempt(id), None, id)
            case _:
                return play.failed(id, temporary=kind == "temporary", to=targets)

    def next(self, play: Play) -> None:
        """One thing happens: the oldest of what runs ends, or else whatever is next in time, or somebody's signal."""
        if play.running:
            play.take(self.of(play, play.running[0]))
        elif play.state.signalled:
            id, signal = play.state.signalled[0]
            play.take(
                SignalDue(signal.number, play.completed(id, output=signal.data, to=self.known_targets(play, id)))
            )
        elif play.runnable_in() is not None:
            play.tick(play.runnable_in() or 0.0)
            play.take(*(self.due(play, id) for id in list(play.state.timers)))
        else:
            play.signal(next(iter(play.state.waits.values())), 7)

    def due(self, play: Play, id: str) -> TimerDue:
        return TimerDue(id, None, play.taken(id, (">", "?>"), self.known_targets(play, id)))

    def known_targets(self, play: Play, id: str) -> list[str]:
        return self.decided(play, id)[1]


def outcome(play: Play) -> Any:
    """All but what else had ended, or was cut short, when something failed: that is a matter of time."""
    ended = {id: (known.status, known.output_data) for id, known in play.state.components.items()}
    return play.status, play.state.results, play.state.failure, ended if play.status == "completed" else None


@given(st.data())
@FEW
def test_pausing_and_resuming_at_any_moment_changes_nothing_in_the_outcome(data: st.DataObject) -> None:
    definition = structs.replace(data.draw(definitions()), max_execution_time=None)
    oracle = Oracle(data, definition)
    straight, paused = Play(definition).claim(), Play(definition).claim()
    for _ in range(MOST_ACTS):
        if straight.state.is_ended:
            break
        oracle.next(straight)
    for _ in range(MOST_ACTS):
        if paused.state.is_ended:
            break
        if data.draw(st.booleans()):
            paused.pause()
            for _ in range(data.draw(st.integers(0, 3))):
                paused.tick(data.draw(st.sampled_from([0, 1, 100])))
                if paused.running:
                    paused.take(oracle.of(paused, paused.running[0]))
            paused.resume().take()
        if not paused.state.is_ended:
            oracle.next(paused)
    assert straight.state.is_ended
    assert outcome(paused) == outcome(straight)


@given(st.data())
@FEW
def test_a_retry_keeps_what_it_says_and_runs_the_rest_once_more(data: st.DataObject) -> None:
    director = directed(data, may_cancel=True)
    play = director.play
    if play.status not in ("failed", "cancelled"):
        return
    before = play.state
    try:
        play.retry(director.choose(None, *before.map.components))
    except Invalid:
        play.retry()
    kept = set(play.of(events.ExecutionRetried)[0].kept)
    for id in before.map.descendants(*(before.map.components.keys() - kept)):
        assert id not in kept or before.components[id].status == "skipped", "nothing kept is behind what runs again"
    for id, known in before.components.items():
        assert (play.state.components[id] == known) == (id in kept)
    assert {id for id, known in play.state.components.items() if known.status.is_settled} == kept
    first = len(play.events)
    director.engines, director.is_leaving, director.may_cancel = 0, False, False
    director.run()
    started = {event.component_id for event in play.events[first:] if isinstance(event, events.ComponentStarted)}
    assert not started & kept
