"""What people may do to a run, and what follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from executor.domain.errors import Code, Refusal, Stale
from executor.domain.events import execution as events
from executor.domain.execution.decide import SignalDue, TimerDue, decide_advance, decide_claim
from executor.domain.execution.lifecycle import MOST_SIGNALS, decide_pause, decide_signal, decide_terminate
from executor.domain.values import RetryPolicy, plus
from tests.given import PERSON, START, like
from tests.unit.executor.play import FAILURE, Play, flow

TWICE = {"a": RetryPolicy(max_attempts=2, initial_delay_seconds=10)}


def at(*chains: str, **more: Any) -> Play:
    """A run that has been claimed and whose start has completed."""
    return Play(flow(*chains, **more)).claim().complete("start")


# pause


def test_while_paused_what_runs_finishes_and_nothing_starts() -> None:
    play = at("start > a > b").pause("lunch")
    assert play.status == "paused"
    assert play.state.paused_at == play.now
    play.complete("a")
    assert (play.running, list(play.state.ready)) == ([], ["b"])
    assert play.runnable_in() is None, "no engine looks at it"
    play.resume("back")
    assert (play.status, play.runnable_in(), play.running) == ("running", 0.0, [])
    play.take()
    assert play.running == ["b"]


def test_pausing_and_resuming_say_who_and_why() -> None:
    play = at("start > a")
    play.given.when(decide_pause, PERSON, "lunch", play.now).then(
        like(events.ExecutionPaused, status="paused", paused_by=PERSON, reason="lunch")
    )
    play.pause().resume("back")
    assert play.of(events.ExecutionResumed)[0].reason == "back"


def test_a_paused_run_stays_paused_whatever_comes_to_its_end() -> None:
    for end in ("complete", "fail"):
        play = at("start > a").pause()
        getattr(play, end)("a")
        assert (play.status, play.runnable_in()) == ("paused", None)
        assert play.resume().runnable_in() == 0.0, "an engine has to say how it ended"
        play.take()
        assert play.status == ("completed" if end == "complete" else "failed")


def test_a_timer_that_comes_due_while_paused_fires_at_resume() -> None:
    play = at("start > a > end").suspend("a", 30).tick(10).pause().tick(60)
    play.given.when(decide_advance, 1, [TimerDue("a", None, (1,))], play.now).then_nothing()
    assert play.state.due_at is None
    play.resume()
    assert play.runnable_in() == 0.0
    play.ring("a")
    assert play.running == ["end"]


def test_a_timer_that_is_not_due_yet_keeps_its_time() -> None:
    play = at("start > a > end").suspend("a", 30).tick(10).pause().tick(5).resume()
    assert play.runnable_in() == 15


def test_the_next_attempt_waits_for_resume_and_then_for_its_time() -> None:
    play = at("start > a", retry=TWICE).pause().fail("a", temporary=True).tick(60).take()
    assert play.running == []
    play.resume().take()
    assert play.running == ["a"]


def test_time_in_which_it_was_paused_does_not_count_against_the_limit() -> None:
    play = at("start > a", max_execution_time=60).tick(50).pause().tick(1000).take().resume().tick(9).take()
    assert play.status == "running"
    play.tick(1).take()
    assert play.status == "failed"


def test_what_is_paused_before_it_starts_is_not_claimed_until_resumed() -> None:
    play = Play(flow("start")).pause()
    play.given.when(decide_claim, "engine-1", play.now).then_nothing()
    assert play.resume().status == "queued"
    assert play.claim().status == "running"


def test_a_pending_run_that_was_paused_past_its_time_starts_at_resume() -> None:
    play = Play(flow("start"), scheduled_at=plus(START, 10)).pause().tick(60)
    assert play.runnable_in() is None
    play.resume()
    assert (play.status, play.runnable_in()) == ("pending", 0.0)


def test_what_an_engine_left_behind_while_paused_runs_again_after_resume() -> None:
    play = at("start > a").pause()
    assert play.runnable_in() is None
    play.resume().claim("engine-2")
    assert (play.running, play.attempt("a")) == (["a"], 2)


# priority, start


def test_priority_changes_until_the_run_starts() -> None:
    play = Play(flow("start")).reprioritize(9)
    assert (play.state.priority, play.of(events.ExecutionReprioritized)[0].former_priority) == (9, 5)
    assert play.reprioritize(9).latest == []
    assert Play(flow("start"), scheduled_at=plus(START, 60)).reprioritize(2).state.priority == 2


def test_what_was_created_to_be_started_later_waits_for_that() -> None:
    play = Play(flow("start"), is_held=True)
    assert (play.status, play.runnable_in()) == ("pending", None)
    assert play.start().status == "queued"
    assert play.claim().status == "running"


def test_a_scheduled_run_may_be_started_before_its_time() -> None:
    play = Play(flow("start"), scheduled_at=plus(START, 60)).start()
    assert (play.status, play.runnable_in()) == ("queued", 0.0)


# signals


def test_a_signal_ends_the_wait_for_it_with_its_data() -> None:
    play = at("start > a > end").suspend("a", None, "approved")
    assert (play.runnable_in(), play.running, play.state.progress.current_component) == (None, [], "a")
    play.tick(5).signal("approved", {"by": "Ada"})
    assert play.runnable_in() == 0.0
    play.hear()
    assert [event.type for event in play.latest] == ["component.completed", "component.started"]
    assert play.of(events.ComponentCompleted, "a")[0].output_data == {"by": "Ada"}
    assert (play.state.signals, play.state.waits) == ({}, {})


@pytest.mark.parametrize("when", ["queued", "running", "paused"])
def test_a_signal_that_nobody_waits_for_yet_is_kept(when: str) -> None:
    play = Play(flow("start > a")).signal("approved", 1)
    if when != "queued":
        play = Play(flow("start > a")).claim()
        play = (play.pause() if when == "paused" else play).signal("approved", 1)
    play = play.claim() if when == "queued" else play.resume() if when == "paused" else play
    play.complete("start").suspend("a", None, "approved")
    assert play.runnable_in() == 0.0, "it is there already"
    play.hear()
    assert play.of(events.ComponentCompleted, "a")[0].output_data == 1


def test_a_paused_run_keeps_a_signal_until_it_is_resumed() -> None:
    play = at("start > a").suspend("a", None, "approved").pause().signal("approved")
    assert (play.status, play.runnable_in()) == ("paused", None)
    assert play.resume().runnable_in() == 0.0
    assert play.hear().status == "completed"


def test_signals_of_one_key_are_taken_one_each_in_order() -> None:
    play = at("start > a > c", "start > b").suspend("a", None, "x").suspend("b", None, "x")
    play.signal("x", 1).signal("x", 2).signal("x", 3).signal("y", 4).hear()
    assert [(e.component_id, e.output_data) for e in play.of(events.ComponentCompleted)[1:]] == [("a", 1), ("b", 2)]
    play.suspend("c", None, "x").hear()
    assert play.of(events.ComponentCompleted, "c")[0].output_data == 3
    assert list(play.state.signals) == ["y"]


def test_a_signal_that_was_taken_already_wakes_nobody_again() -> None:
    play = at("start > a", "start > b").suspend("a", None, "x").suspend("b", None, "x").signal("x")
    ((id, signal),) = play.state.signalled
    late = play.heard(id, signal, None)
    play.hear()
    play.given.when(decide_advance, 1, [late, play.heard("b", signal, None)], play.now).then_nothing()


def test_the_time_of_a_wait_fails_it_and_a_later_signal_is_for_the_next() -> None:
    play = at("start > a > b", "a !> rescue").suspend("a", 30, "x").tick(30)
    assert play.runnable_in() == 0.0
    play.tick(1).signal("x", 1)
    assert play.state.signalled == [], "it came too late for this one"
    play.take(TimerDue("a", None, play.taken("a", ("!>",), None), FAILURE))
    assert (play.running, play.state.waits) == (["rescue"], {})
    play.suspend("rescue", None, "x").hear()
    assert play.of(events.ComponentCompleted, "rescue")[0].output_data == 1


def test_a_signal_before_the_time_of_a_wait_wins_also_when_nobody_looked_until_after() -> None:
    play = at("start > a").suspend("a", 30, "x").tick(30).signal("x").tick(30)
    play.take(
        *(play.heard(id, signal, None) for id, signal in play.state.signalled), TimerDue("a", None, (), FAILURE)
    )
    assert (play.status, play.types.count("timer.fired")) == ("completed", 0)


def test_a_signal_may_fail_its_component_which_is_tried_again() -> None:
    play = at("start > a", retry=TWICE).suspend("a", 60, "x").signal("x", 1)
    ((_, signal),) = play.state.signalled
    play.take(SignalDue(signal.number, play.failed("a", temporary=True)))
    assert (play.state.signals, play.state.waits, play.state.timers, list(play.state.retries)) == ({}, {}, {}, ["a"])
    play.tick(10).take()
    assert play.running == ["a"]


def test_a_takeover_leaves_waits_as_they_are() -> None:
    play = at("start > a", "start > b").suspend("a", None, "x").claim("engine-2")
    assert (play.state.waits, play.running) == ({"a": "x"}, ["b"])
    play.signal("x").hear()
    assert play.statuses()["a"] == "completed"


def test_so_many_signals_are_kept_and_no_more() -> None:
    play = at("start > a")
    for number in range(MOST_SIGNALS):
        play.signal(f"x{number}")
    play.given.when(decide_signal, "y", None, play.now).refused(Code.RESOURCE_CONFLICT, contains="1000", field="key")


# ends, and time in the queue


def test_terminating_ends_the_run_at_once() -> None:
    play = at("start > a > b")
    play.given.when(decide_terminate, PERSON, "out of hand", plus(play.now, 3)).then(
        like(events.ComponentCancelled, component_id="a", duration=3.0),
        like(events.ExecutionTerminated, status="terminated", terminated_by=PERSON, reason="out of hand"),
    )
    late = play.completed("a")
    play.terminate().given.when(decide_advance, 1, [late], play.now).then_nothing()


@pytest.mark.parametrize("act", ["cancel", "terminate"])
def test_what_is_paused_or_waits_for_a_signal_can_be_ended(act: str) -> None:
    play = at("start > a").suspend("a", None, "x").pause()
    getattr(play, act)()
    assert play.state.is_ended
    assert (play.state.paused_at, play.state.waits, play.runnable_in()) == (None, {}, None)


def test_what_waits_too_long_in_the_queue_fails_when_it_would_be_taken() -> None:
    play = Play(flow("start", queue_timeout=60)).tick(59)
    assert play.given.when(decide_claim, "engine-1", play.now).state.started_at is not None
    play.tick(1).claim()
    assert (play.status, play.types) == ("failed", ["execution.created", "execution.failed"])
    assert play.state.failure is not None
    assert (play.state.failure.code, "60 seconds" in play.state.failure.message) == ("TIMEOUT_ERROR", True)


def test_time_in_the_queue_counts_from_when_it_could_have_been_taken() -> None:
    later = {"scheduled_at": plus(START, 100)}
    for play in (
        Play(flow("start", queue_timeout=60), **later).tick(110),
        Play(flow("start", queue_timeout=60), **later).pause().tick(1000).resume().tick(10),
        Play(flow("start", queue_timeout=60), is_held=True).tick(100).start().tick(10),
        Play(flow("start", queue_timeout=60)).pause().tick(100).resume().tick(10),
        Play(flow("start", queue_timeout=60)).cancel().tick(100).retry().tick(10),
    ):
        assert play.claim().status == "running"
    assert Play(flow("start", queue_timeout=60), **later).tick(160).claim().status == "failed"


# what does not go with the status


def ended(act: str) -> Play:
    play = at("start > a")
    acts: dict[str, Callable[[], Play]] = {
        "completed": lambda: play.complete("a"),
        "failed": lambda: play.fail("a"),
        "cancelled": play.cancel,
        "terminated": play.terminate,
    }
    return acts[act]()


PLAYS: dict[str, Callable[[], Play]] = {
    "pending": lambda: Play(flow("start"), scheduled_at=plus(START, 60)),
    "queued": lambda: Play(flow("start")),
    "running": lambda: at("start > a"),
    "paused": lambda: at("start > a").pause(),
    **{status: lambda status=status: ended(status) for status in ("completed", "failed", "cancelled", "terminated")},  # type: ignore[misc]
}
LEGAL = {
    "start": {"pending"},
    "pause": {"pending", "queued", "running"},
    "resume": {"paused"},
    "reprioritize": {"pending", "queued"},
    "signal": {"pending", "queued", "running", "paused"},
    "cancel": {"pending", "queued", "running", "paused"},
    "terminate": {"pending", "queued", "running", "paused"},
    "retry": {"failed", "cancelled"},
}
ARGUMENTS: dict[str, tuple[Any, ...]] = {"reprioritize": (7,), "signal": ("x",)}


@pytest.mark.parametrize("status", PLAYS)
@pytest.mark.parametrize("act", LEGAL)
def test_each_act_goes_with_its_statuses_and_is_refused_by_name_with_the_others(act: str, status: str) -> None:
    play = PLAYS[status]()
    assert play.status == status
    before = len(play.facts)
    if status in LEGAL[act]:
        getattr(play, act)(*ARGUMENTS.get(act, ()))
        assert len(play.facts) > before
        return
    with pytest.raises(Refusal) as refused:
        getattr(play, act)(*ARGUMENTS.get(act, ()))
    problem = refused.value.problems[0]
    assert (problem.code, problem.field, problem.details) == (
        Code.RESOURCE_CONFLICT,
        "status",
        {"current_status": status},
    )
    assert f"the execution is {status} " in problem.message
    assert len(play.facts) == before


def test_an_engine_that_had_the_run_before_its_retry_lets_go() -> None:
    play = at("start > a").cancel().retry()
    with pytest.raises(Stale):
        play.take()
