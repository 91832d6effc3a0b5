from __future__ import annotations

from executor.domain.events import execution as events
from executor.domain.execution.folds import evolve
from executor.domain.execution.state import initial
from executor.domain.values import Progress, RetryPolicy, plus
from tests.given import START
from tests.unit.executor.play import Play, flow, through_json

TWICE = {"a": RetryPolicy(max_attempts=2, initial_delay_seconds=10)}


def progress(play: Play) -> tuple[int, int, str | None]:
    seen = play.state.progress
    return seen.completed_components, seen.percentage, seen.current_component


def test_a_folded_state_does_not_change_the_one_before() -> None:
    play = Play(flow("start > a > end")).claim()
    before = play.state
    again = evolve(initial(), play.facts)
    play.complete("start")
    assert before == again
    assert before.running == {"start": None}
    assert before != play.state


def test_an_execution_that_was_never_created_has_no_status_and_is_never_due() -> None:
    state = initial()
    assert state.status is None
    assert state.runnable_at is None
    assert not state.is_ended


def test_touched_are_the_components_of_the_last_fold_only() -> None:
    play = Play(flow("start > a", "start > b")).claim().complete("start")
    assert list(play.state.touched) == ["start", "a", "b"]
    play.complete("a")
    assert list(play.state.touched) == ["a"]


# when an engine should look at it


def test_a_queued_execution_is_runnable_at_once() -> None:
    assert Play(flow("start")).runnable_in() == 0


def test_one_scheduled_for_later_is_pending_until_then() -> None:
    play = Play(flow("start"), scheduled_at=plus(START, 60))
    assert (play.status, play.runnable_in()) == ("pending", 60)
    play.tick(60).claim()
    assert (play.status, play.running) == ("running", ["start"])


def test_one_scheduled_for_the_past_is_queued() -> None:
    play = Play(flow("start"), scheduled_at=plus(START, -1))
    assert (play.status, play.runnable_in()) == ("queued", 0)


def test_one_that_runs_something_is_runnable_now_so_that_another_engine_can_take_it_over() -> None:
    play = Play(flow("start", "start > b")).claim().complete("start").tick(30)
    assert play.state.is_busy
    assert play.runnable_in() == 0


def test_one_that_only_waits_is_runnable_at_its_earliest_timer_or_next_attempt() -> None:
    play = Play(flow("start > a", "start > b", "start > c", retry=TWICE)).claim().complete("start")
    play.suspend("b", 30).suspend("c", 20)
    assert play.runnable_in() == 0
    play.fail("a", temporary=True)
    assert not play.state.is_busy
    assert play.runnable_in() == 10


def test_what_is_due_by_itself_is_known_while_something_else_runs() -> None:
    play = Play(flow("start > a", "start > b")).claim().complete("start").suspend("b", 5)
    assert play.state.is_busy
    assert play.state.due_at == plus(START, 5)


def test_one_that_waits_is_runnable_at_its_deadline_if_that_is_earlier() -> None:
    play = Play(flow("start > a", max_execution_time=15)).tick(2).claim().complete("start").suspend("a", 60)
    assert play.runnable_in() == 15


def test_one_that_ended_is_never_runnable() -> None:
    play = Play(flow("start")).claim().complete("start")
    assert play.status == "completed"
    assert play.runnable_in() is None
    assert Play(flow("start")).cancel().runnable_in() is None


# progress


def test_progress_counts_settled_components_floors_and_is_100_at_completion() -> None:
    play = Play(flow("start > a > b", "start ?> c"))
    assert progress(play) == (0, 0, None)
    play.claim()
    assert progress(play) == (0, 0, "start")
    play.complete("start")
    assert progress(play) == (2, 50, "a"), "the skipped c counts"
    play.complete("a")
    assert progress(play) == (3, 75, "b")
    play.complete("b")
    assert progress(play) == (4, 100, None)
    assert play.of(events.ExecutionCompleted)[0].progress == Progress(None, 4, 4, 100)


def test_a_third_of_the_components_is_33_percent() -> None:
    assert progress(Play(flow("start > a > b")).claim().complete("start")) == (1, 33, "a")


def test_the_current_component_is_the_last_started_that_still_runs() -> None:
    play = Play(flow("start > a", "start > b", "start > c")).claim().complete("start")
    assert play.state.progress.current_component == "c"
    play.complete("c")
    assert play.state.progress.current_component == "b"
    play.complete("a")
    assert play.state.progress.current_component == "b"


def test_the_current_component_is_one_that_waits_where_none_runs() -> None:
    play = Play(flow("start > a", "start > b")).claim().complete("start").suspend("b", 5)
    assert play.state.progress.current_component == "a"
    play.complete("a")
    assert play.state.progress.current_component == "b"


def test_progress_of_a_failed_execution_stays_where_it_was() -> None:
    play = Play(flow("start > a > b > c")).claim().complete("start").fail("a")
    assert play.status == "failed"
    assert progress(play) == (2, 50, None)


def test_events_say_the_progress_that_they_make() -> None:
    play = Play(flow("start > a > b")).claim().complete("start")
    completed, started = play.latest
    assert isinstance(completed, events.ComponentCompleted)
    assert isinstance(started, events.ComponentStarted)
    assert completed.progress == Progress(None, 1, 3, 33)
    assert started.progress == Progress("a", 1, 3, 33)


# times


def test_durations_are_seconds_with_milliseconds_since_the_start() -> None:
    play = Play(flow("start > a")).tick(5).claim().tick(0.25).complete("start").tick(1.5).complete("a")
    start, a = play.of(events.ComponentCompleted)
    assert (start.duration, a.duration) == (0.25, 1.5)
    assert (start.execution_duration, a.execution_duration) == (0.25, 1.75)
    assert play.of(events.ExecutionCompleted)[0].duration == 1.75
    assert play.state.elapsed(play.now) == 1.75


def test_an_execution_that_was_cancelled_before_it_started_took_no_time() -> None:
    play = Play(flow("start")).tick(9).cancel()
    assert play.of(events.ExecutionCancelled)[0].duration is None
    assert play.state.elapsed(play.now) is None


def test_a_clock_that_goes_backwards_gives_no_negative_durations() -> None:
    play = Play(flow("start > a")).claim().tick(-3).complete("start").tick(-3).complete("a")
    assert all(event.duration == 0.0 for event in play.of(events.ComponentCompleted))
    assert play.of(events.ExecutionCompleted)[0].duration == 0.0


def test_the_fold_of_what_a_store_gives_back_is_the_same_state() -> None:
    play = Play(flow("start > a > end", "a !> b", retry=TWICE), {"x": [1, {"y": None}]}).claim()
    play.complete("start", output={"ü": 1.5}, logs=["one"]).fail("a", temporary=True).tick(10).take().fail("a")
    play.suspend("b", 1).tick(1).ring("b")
    assert play.status == "completed"
    assert evolve(initial(), [through_json(fact) for fact in play.facts]) == play.state
