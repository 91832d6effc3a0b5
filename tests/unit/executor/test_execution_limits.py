"""What one run may come to: nobody's loop fills the memory, nobody's loops go on for ever."""

from __future__ import annotations

from executor.domain.definition import ComponentSpec, Definition
from executor.domain.errors import Code
from executor.domain.events import execution as events
from executor.domain.events.loop import IterationCompleted, IterationFailed
from executor.domain.execution.decision import MAX_RESULTS_BYTES, MOST_COMPONENTS
from executor.domain.execution.inputs import Failed, LoopDue, Looped
from executor.domain.execution.lifecycle import MOST_SIGNAL_BYTES, decide_signal
from executor.domain.values import RetryPolicy
from tests.unit.executor.play import FAILURE, Play, flow, looping

HALF = "x" * (MAX_RESULTS_BYTES // 2)


def begun(*, times: int = 4, most: int = 4, **config: object) -> Play:
    play = Play(looping("each", items=list(range(times)), **config)).claim().complete("start")
    return play.take(Looped("each", 1, times, most))


def loop_fails(play: Play, key: str, *, temporary: bool = False) -> Play:
    failed = Failed(key, play.attempt(key), FAILURE, temporary, ())
    return play.take(LoopDue(failed))


def test_a_loop_whose_iterations_say_too_much_fails_at_once() -> None:
    play = begun().complete("work@0", output=HALF)
    assert play.state.loops["each"].size > MAX_RESULTS_BYTES // 2
    play.complete("work@1", output=HALF)
    (failed,) = play.of(IterationFailed)
    assert (failed.index, failed.error.code, failed.error.component_id) == (1, Code.OUTPUT_TOO_LARGE, "each")
    assert list(play.state.finished) == ["each"]
    assert len(play.of(IterationCompleted)) == 1


def test_an_iteration_of_several_large_outputs_fails_too() -> None:
    body = Definition(components=(ComponentSpec(id="one", type="log"), ComponentSpec(id="other", type="log")))
    play = Play(looping("each", body)).claim().complete("start").take(Looped("each", 1, 2, 1))
    play.complete("one@0", "other@0", output=HALF)
    assert [failed.error.code for failed in play.of(IterationFailed)] == [Code.OUTPUT_TOO_LARGE]


def test_what_is_kept_of_a_loop_counts_when_it_begins_again() -> None:
    play = begun().complete("work@0", output=HALF).fail("work@1")
    loop_fails(play, "each").retry()
    play.claim("engine-2").take(Looped("each", play.attempt("each"), 4, 4))
    assert play.state.loops["each"].size > MAX_RESULTS_BYTES // 2
    assert [key for key in play.running if key != "each"] == ["work@1", "work@2", "work@3"]


def test_nothing_is_kept_of_a_loop_whose_iteration_around_is_gone() -> None:
    """Else it would be taken for that of another attempt, which goes over other items."""
    inner = looping("inner").components[1]
    retried = ComponentSpec(id="inner", type="loop", config=inner.config, retry=RetryPolicy(max_attempts=3))
    body = Definition(components=(retried, ComponentSpec(id="other", type="log")))
    play = Play(looping("each", body, max_concurrency=1)).claim().complete("start").take(Looped("each", 1, 2, 1))
    play.take(Looped("inner@0", 1, 2, 2)).complete("work@0.0", output="kept").fail("work@0.1")
    loop_fails(play, "inner@0", temporary=True)
    assert dict(play.state.outputs) == {"inner@0#0": {"work": "kept"}}
    play.fail("other@0")
    assert dict(play.state.outputs) == {}


def test_a_run_begins_so_many_components_and_no_more() -> None:
    play = begun(most=1)
    play.state.begun = MOST_COMPONENTS
    play.complete("work@0")
    assert play.status == "failed"
    assert str(MOST_COMPONENTS) in play.of(events.ExecutionFailed)[0].error.message


def test_what_began_before_may_begin_again_behind_that() -> None:
    play = Play(flow("start > a", retry={"a": RetryPolicy(max_attempts=2)})).claim().complete("start")
    play.state.begun = MOST_COMPONENTS
    play.fail("a", temporary=True).tick(60).take()
    assert play.running == ["a"]


def test_signals_that_nobody_takes_say_so_much_and_no_more() -> None:
    play = Play(flow("start > a")).claim()
    for number in range(8):
        play.signal(f"x{number}", "x" * (MOST_SIGNAL_BYTES // 8))
    play.given.when(decide_signal, "y", None, play.now).refused(
        Code.RESOURCE_CONFLICT, contains="bytes", field="data"
    )
