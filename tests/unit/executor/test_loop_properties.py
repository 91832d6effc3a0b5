"""What holds of every execution with loops in it: nested ones, several iterations at once, failures that end a loop
or do not, conditions; whatever comes in whatever order, whoever goes on with it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from executor.domain.definition import ComponentSpec, Connection, ConnectionType, Definition
from executor.domain.events import ComponentFacts
from executor.domain.events import execution as events
from executor.domain.events.loop import IterationCompleted, IterationFailed, LoopStarted
from executor.domain.execution.decide import Input, TimerDue
from executor.domain.execution.folds import evolve
from executor.domain.execution.inputs import IterationDue, LoopDue, Looped
from executor.domain.execution.kept import pack, unpack
from executor.domain.execution.rows import AGGREGATE, ComponentRow, ExecutionRow
from executor.domain.execution.state import State, initial
from executor.domain.values import RetryPolicy, plus, split_key
from tests.unit.executor.play import FAILURE, Play, through_json
from tests.unit.executor.test_execution_properties import ENDS, FEW, Director, Oracle, outcome

MOST_STEPS = 1000
MOST_TURNS = 3
"""Iterations of a loop that runs while a condition holds."""
DEEPEST = 2
POLICIES = st.none() | st.builds(
    RetryPolicy, max_attempts=st.integers(1, 2), initial_delay_seconds=st.sampled_from([0.0, 5.0])
)


@st.composite
def graphs(draw: st.DrawFn, depth: int = 0) -> Definition:
    """Of a run, or of a body: the deeper, the smaller. Ids come again in bodies."""
    own = [f"c{n}" for n in range(draw(st.integers(1, 3)))]
    ids = ["start", *own] if depth == 0 or draw(st.booleans()) else own
    components = tuple(draw(specs(id, depth)) for id in ids)
    connections: list[Connection] = []
    for number, target in enumerate(ids[1:], start=1):
        for source in draw(st.lists(st.sampled_from(ids[:number]), max_size=2)) or ["start"][: "start" in ids]:
            kind = draw(st.sampled_from(ConnectionType))
            condition = "true" if kind is ConnectionType.CONDITIONAL else None
            connections.append(Connection(source=source, target=target, type=kind, condition=condition))
    return Definition(components=components, connections=tuple(connections), fail_fast=draw(st.booleans()))


@st.composite
def specs(draw: st.DrawFn, id: str, depth: int) -> ComponentSpec:
    if id == "start":
        return ComponentSpec(id=id, type="start")
    if depth == DEEPEST or draw(st.integers(0, 2)) == 0:
        return ComponentSpec(id=id, type="log", retry=draw(POLICIES))
    over: dict[str, Any] = {"while": "true"}
    if draw(st.integers(0, 3)):
        over = {"items": list(range(draw(st.integers(1, 4)))), "max_concurrency": draw(st.integers(1, 3))}
    body = msgspec.to_builtins(draw(graphs(depth + 1)))
    return ComponentSpec(id=id, type="loop", config=over | {"body": body}, retry=draw(POLICIES))


def begun(play: Play, key: str, seconds: float | None = None) -> Looped:
    """A loop finds out how often it runs. With `seconds` it may take no longer."""
    config = play.state.spec(key).config
    times = len(config["items"]) if "items" in config else None
    until = None if seconds is None else plus(play.now, seconds)
    return Looped(key, play.attempt(key), times, config.get("max_concurrency", 1), until)


def come_to(play: Play, key: str, to: list[str]) -> LoopDue:
    """What a loop has come to that has no more to do."""
    loop = play.state.loops[key]
    if loop.failure is not None:
        return LoopDue(play.failed(key, temporary=True, to=to)._replace(failure=loop.failure))
    output = {"results": [play.state.output_of(key, index) for index in range(loop.count or 0)]}
    return LoopDue(play.completed(key, output=output, to=to))


class LoopDirector(Director):
    """Answers loops as an engine does: together with whatever else has come, in any order."""

    def act(self) -> bool:
        state = self.play.state
        is_called = bool(state.asking or state.finished) and not state.is_paused
        if self.engines and is_called and not (self.is_leaving and not state.running):
            if self.data.draw(st.integers(0, 9)) == 9 and self.engines < 6:
                self.claim()
                return True
            some = self.some(self.play.running) if self.play.running else []
            self.play.take(*self.data.draw(st.permutations([*self.inside(), *(self.result(id) for id in some)])))
            return True
        return super().act()

    def inside(self) -> list[Input]:
        play = self.play
        turns: list[Input] = [self.turn(at) for at in play.state.asking]
        return turns + [come_to(play, key, self.targets(key)) for key in play.state.finished]

    def turn(self, at: str) -> IterationDue:
        kind = self.choose("on", "on", "over", "wrong")
        goes_on = kind == "on" and self.play.state.iterations[at].index + 1 < MOST_TURNS
        return IterationDue(at, goes_on, FAILURE if kind == "wrong" else None)

    def result(self, id: str) -> Any:
        play = self.play
        if play.state.spec(id).type == "loop" and self.choose(True, True, True, False):
            return begun(play, id, self.choose(None, None, 20.0))
        if self.choose(True, True, False):
            return play.completed(id, output={"at": id}, to=self.targets(id))
        return super().result(id)

    def due(self, id: str) -> TimerDue:
        if id in self.play.state.loops:
            return TimerDue(id, None, self.play.taken(id, ("!>",), self.targets(id)), FAILURE, temporary=True)
        return super().due(id)


def directed(data: st.DataObject, may_cancel: bool = False, may_retry: bool = False) -> LoopDirector:
    director = LoopDirector(data, data.draw(graphs()), may_cancel, may_retry, may_change=False)
    director.run()
    return director


@given(st.data())
@FEW
def test_every_run_ends_and_leaves_nothing_open(data: st.DataObject) -> None:
    play = directed(data, may_cancel=True, may_retry=True).play
    state = play.state
    assert play.status in ("completed", "failed", "cancelled")
    assert isinstance(play.events[-1], ENDS)
    left = (state.ready, state.dead, state.running, state.timers, state.waits, state.retries)
    assert not any((*left, state.loops, state.iterations, state.over, state.asking, state.finished))
    assert state.components.keys() <= state.map.components.keys(), "of iterations that ended nothing is left"
    settled = {"completed", "failed", "skipped", "cancelled"}
    assert set(rows_of(play.facts, len(play.facts))["components"].values()) <= settled


def rows_of(facts: list[Any], at_once: int) -> dict[str, dict[Any, Any]]:
    """The tables as folds of so many facts each leave them; of components their status."""
    tables: dict[str, dict[Any, Any]] = {"executions": {}, "components": {}, "whole": {}}
    state = initial()
    for start in range(0, len(facts), at_once):
        after = evolve(state, facts[start : start + at_once])
        for row in AGGREGATE.rows(state, after):
            assert isinstance(row, ExecutionRow | ComponentRow)
            key = tuple(getattr(row, name) for name in row.key)
            tables[row.table][key] = row.status
            tables["whole"][row.table, *key] = row
        state = after
    return tables


@given(st.data())
@FEW
def test_folds_of_any_size_make_the_same_state_and_the_same_rows(data: st.DataObject) -> None:
    play = directed(data, may_cancel=True, may_retry=True).play
    facts = [through_json(fact) for fact in play.facts]
    state = initial()
    for fact in facts:
        state = evolve(state, [fact])
    assert state == evolve(initial(), facts) == play.state
    size = data.draw(st.integers(1, len(facts)))
    assert rows_of(facts, size) == rows_of(facts, 1) == rows_of(facts, len(facts))
    started = {event.key for event in play.of(events.ComponentStarted)}
    assert len(rows_of(facts, size)["components"]) >= len(started), "each that began has its row, for good"


@given(st.data())
@FEW
def test_a_fold_that_was_kept_at_any_moment_is_the_very_state(data: st.DataObject) -> None:
    director = directed(data, may_cancel=True, may_retry=True)
    kept = unpack(pack(data.draw(st.sampled_from(director.seen))))
    facts = [through_json(fact) for fact in director.play.facts]
    assert kept == evolve(initial(), facts[: kept.version])
    assert evolve(kept, facts[kept.version :]) == director.play.state


@given(st.data())
@FEW
def test_results_are_in_the_order_of_the_items(data: st.DataObject) -> None:
    play = directed(data).play
    for event in play.of(events.ComponentCompleted):
        if event.component_type == "loop" and isinstance(event.output_data, dict) and "results" in event.output_data:
            above = f"{event.iteration}." if event.iteration else ""
            for index, result in enumerate(event.output_data["results"]):
                for output in result.values():
                    if isinstance(output, dict) and "at" in output:
                        assert split_key(output["at"])[1] == f"{above}{index}"


@given(st.data())
@FEW
def test_no_more_iterations_are_open_than_may_be(data: st.DataObject) -> None:
    director = directed(data, may_retry=True)
    for state in director.seen:
        opened = Counter(each.loop for each in state.iterations.values())
        for key, loop in state.loops.items():
            assert loop.open == opened[key] <= loop.max_concurrency
            assert loop.count is not None or loop.open <= 1
            assert loop.count is None or loop.following <= loop.count
        for at, iteration in state.iterations.items():
            assert iteration.left == unsettled(state, iteration.loop, iteration.path), at


def unsettled(state: State, loop: str, path: str) -> int:
    body = state.map.home[split_key(loop)[0]].bodies[split_key(loop)[0]]
    known = [state.components.get(f"{id}@{path}") for id in body.components]
    return sum(each is None or not each.status.is_settled for each in known)


@given(st.data())
@FEW
def test_nothing_runs_twice_without_another_attempt_at_it_or_at_a_loop_around_it(data: st.DataObject) -> None:
    play = directed(data, may_cancel=True, may_retry=True).play
    seen: dict[str, int] = {}
    for event in play.of(events.ComponentStarted):
        assert event.attempt == seen.get(event.key, 0) + 1
        seen[event.key] = event.attempt
        if event.component_type == "loop":
            for key in [key for key in seen if is_inside(play, key, event.key)]:
                del seen[key]
    ends = Counter[tuple[Any, ...]]()
    for fact in play.facts:
        event = fact.event
        if isinstance(event, events.ComponentStarted) and event.component_type == "loop":
            ends = Counter({key: n for key, n in ends.items() if not begins_again(play, key, event.key)})
        elif isinstance(event, events.ExecutionRetried):
            ends.clear()
        elif isinstance(event, IterationCompleted | IterationFailed):
            ends[event.key, event.index] += 1
        elif isinstance(event, ComponentFacts) and event.status in ("completed", "failed", "skipped", "cancelled"):
            ends[event.key,] += 1
        assert set(ends.values()) <= {1}


@given(st.data())
@FEW
def test_after_a_retry_nothing_runs_under_the_key_that_it_had(data: st.DataObject) -> None:
    """`component/iteration/generation`, by which receivers drop repeats."""
    before, since = set[tuple[str, int]](), set[tuple[str, int]]()
    for event in directed(data, may_cancel=True, may_retry=True).play.events:
        if isinstance(event, events.ExecutionRetried):
            before |= since
            since.clear()
        elif isinstance(event, events.ComponentStarted):
            since.add((event.key, event.generation))
            assert (event.key, event.generation) not in before


def begins_again(play: Play, end: tuple[Any, ...], loop: str) -> bool:
    """It is an end of something in the loop, or of an iteration of it."""
    return is_inside(play, end[0], loop) or (end[0] == loop and len(end) == 2)


def is_inside(play: Play, key: str, loop: str) -> bool:
    """It stands in an iteration of the loop, or is one."""
    (id, path), (outer, above) = split_key(key), split_key(loop)
    home = play.state.map.home
    graph, path_of = home[id], path.split(".") if path else []
    while graph.above is not None:
        path_of = path_of[:-1]
        if (graph.loop, ".".join(path_of)) == (outer, above):
            return True
        graph = graph.above
    return False


@given(st.data())
@FEW
def test_what_completed_of_a_loop_that_begins_again_is_not_run_again(data: st.DataObject) -> None:
    play = directed(data).play
    done: set[tuple[str, int]] = set()
    for event in play.events:
        if isinstance(event, IterationCompleted):
            done.add((event.key, event.index))
        elif isinstance(event, LoopStarted):
            is_counted = event.count is not None
            fresh = {(key, index) for key, index in done if is_inside(play, key, event.key)}
            done -= fresh | (set() if is_counted else {(key, index) for key, index in done if key == event.key})
        elif isinstance(event, ComponentFacts) and event.iteration:
            graph = play.state.map.home[event.component_id]
            *above, index = event.iteration.split(".")
            key = f"{graph.loop}@{'.'.join(above)}" if above else graph.loop
            assert (key, int(index)) not in done
        if isinstance(event, events.ComponentCompleted | events.ComponentFailed) and event.component_type == "loop":
            done = {(key, index) for key, index in done if key != event.key}


class LoopOracle(Oracle):
    """Also of loops: how many turns those take that run while a condition holds."""

    def __init__(self, data: st.DataObject, definition: Definition) -> None:
        super().__init__(data, definition)
        self.turns: dict[str, int] = {}

    def of(self, play: Play, id: str) -> Any:
        return begun(play, id) if play.state.spec(id).type == "loop" else super().of(play, id)

    def next(self, play: Play) -> None:
        """Loops that wait for an answer get it first, as from an engine."""
        if not self.answered(play):
            super().next(play)

    def answered(self, play: Play) -> bool:
        inputs: list[Input] = [self.turn(play, at) for at in play.state.asking]
        inputs += [come_to(play, key, self.known_targets(play, key)) for key in play.state.finished]
        if inputs:
            play.take(*inputs)
        return bool(inputs)

    def turn(self, play: Play, at: str) -> IterationDue:
        iteration = play.state.iterations[at]
        if iteration.loop not in self.turns:
            self.turns[iteration.loop] = self.data.draw(st.integers(1, MOST_TURNS))
        return IterationDue(at, iteration.index + 1 < self.turns[iteration.loop])

    def disturb(self, play: Play) -> None:
        """Somebody pauses the run for a while, another engine takes it over, or its own leaves it to another."""
        match self.data.draw(st.sampled_from(["pause", "takeover", "drain"])):
            case "pause":
                play.pause()
                for _ in range(self.data.draw(st.integers(0, 3))):
                    play.tick(self.data.draw(st.sampled_from([0, 1, 100])))
                    if play.running:
                        play.take(self.of(play, play.running[0]))
                play.resume().take()
            case "takeover":
                play.claim(f"engine-{play.state.epoch + 1}")
            case "drain":
                play.drain(*(self.of(play, id) for id in play.running[:1]))
                if not play.state.is_ended:
                    play.claim(f"engine-{play.state.epoch + 1}")


@given(st.data())
@FEW
def test_pauses_takeovers_and_drains_at_any_moment_change_nothing_in_the_outcome(data: st.DataObject) -> None:
    definition = data.draw(graphs())
    oracle = LoopOracle(data, definition)
    straight, disturbed = Play(definition).claim(), Play(definition).claim()
    for _ in range(MOST_STEPS):
        if straight.state.is_ended:
            break
        oracle.next(straight)
    for _ in range(MOST_STEPS):
        if disturbed.state.is_ended:
            break
        if data.draw(st.integers(0, 3)) == 0:
            oracle.disturb(disturbed)
        if not disturbed.state.is_ended:
            oracle.next(disturbed)
    assert straight.state.is_ended
    assert outcome(disturbed) == outcome(straight)
