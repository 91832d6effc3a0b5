from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from msgspec import structs

from executor.domain.errors import Code, Stale
from executor.domain.events import Event, Failure
from executor.domain.events import execution as events
from executor.domain.execution.decide import (
    Completed,
    Creation,
    Failed,
    Suspended,
    TimerDue,
    decide_advance,
    decide_claim,
    decide_create,
    is_due,
    shown_input,
)
from executor.domain.execution.lifecycle import decide_cancel
from executor.domain.execution.rows import AGGREGATE
from executor.domain.values import Progress, RetryPolicy, plus
from tests.given import PERSON, START, given, like
from tests.unit.executor.play import FAILURE, Play, flow

THRICE = {"a": RetryPolicy(max_attempts=3, initial_delay_seconds=10, backoff_multiplier=3, max_delay_seconds=25)}
CREATION = Creation(
    workflow_id="W",
    workflow_name="report",
    workflow_version=3,
    workflow_status="active",
    definition=flow("start > a"),
    parameters={"x": 1},
    priority=8,
    tags=("nightly",),
    project_id="P",
    scheduled_at=None,
    created_by=PERSON,
)


def at(*chains: str, **more: object) -> Play:
    """A play whose start has completed."""
    return Play(flow(*chains, **more)).claim().complete("start")  # type: ignore[arg-type]


# creation


def test_creation_says_all_that_the_run_needs() -> None:
    given(AGGREGATE).when(decide_create, CREATION, START).then(
        events.ExecutionCreated(
            workflow_id="W",
            workflow_name="report",
            workflow_version=3,
            workflow_status="active",
            definition=CREATION.definition,
            parameters={"x": 1},
            priority=8,
            tags=("nightly",),
            project_id="P",
            scheduled_at=None,
            created_by=PERSON,
            status="queued",
            progress=Progress(None, 0, 2, 0),
        )
    )


def test_an_execution_is_created_once() -> None:
    play = Play(flow("start"))
    play.given.when(decide_create, CREATION, START).refused(Code.RESOURCE_CONFLICT, contains="exists")


# claims and epochs


def test_the_first_claim_starts_the_execution_and_its_start() -> None:
    Play(flow("start > a")).given.when(decide_claim, "engine-1", START).then(
        like(events.ExecutionStarted, engine="engine-1", epoch=1, status="running", duration=0.0, started_at=START),
        like(events.ComponentStarted, component_id="start", attempt=1, status="running", execution_status="running"),
    )


def test_a_takeover_is_the_next_epoch_and_another_attempt_at_what_ran() -> None:
    play = at("start > a", "start > b").complete("a")
    play.given.when(decide_claim, "engine-2", plus(play.now, 4)).then(
        like(events.ExecutionReclaimed, engine="engine-2", epoch=2, status="running", duration=4.0),
        like(events.ComponentStarted, component_id="b", attempt=2, generation=0),
    )


def test_a_takeover_spends_no_retry() -> None:
    play = at("start > a", retry=THRICE)
    for number in range(5):
        play.claim(f"engine-{number}")
    assert play.attempt("a") == 6
    play.fail("a", temporary=True).tick(10).take().fail("a", temporary=True)
    assert play.of(events.ComponentRetryScheduled)[-1].retry_count == 2
    play.tick(60).take().fail("a", temporary=True)
    assert play.of(events.ComponentFailed)[0].retry_count == 2
    assert play.of(events.ComponentFailed)[0].attempt == 8


def test_a_takeover_leaves_timers_and_next_attempts_as_they_are() -> None:
    play = at("start > a", "start > b", retry=THRICE).fail("a", temporary=True).suspend("b", 60)
    play.given.when(decide_claim, "engine-2", play.now).then(like(events.ExecutionReclaimed, epoch=2))


def test_a_takeover_past_the_deadline_cancels_what_the_dead_engine_was_at() -> None:
    play = at("start > a", max_execution_time=60)
    outcome = play.given.when(decide_claim, "engine-2", plus(START, 61)).then(
        like(events.ExecutionReclaimed, epoch=2),
        like(events.ComponentCancelled, component_id="a"),
        like(events.ExecutionFailed, status="failed"),
    )
    assert {str(known.status) for known in outcome.state.components.values()} == {"completed", "cancelled"}


# an engine that is about to leave


def test_an_engine_that_leaves_records_results_and_starts_nothing() -> None:
    play = at("start > a > b", "start > c")
    play.given.when(partial(decide_advance, may_start=False), 1, [play.completed("a")], play.now).then(
        like(events.ComponentCompleted, component_id="a", status="completed")
    )
    play.drain(play.completed("a")).drain(play.completed("c"))
    assert (play.running, list(play.state.ready)) == ([], ["b"])
    play.claim("engine-2")
    assert [event.type for event in play.latest] == ["execution.reclaimed", "component.started"]
    assert (play.running, play.attempt("b"), play.state.epoch) == (["b"], 1, 2)


def test_an_engine_that_leaves_skips_what_is_dead_and_ends_what_is_over() -> None:
    play = at("start > a ?> b > c")
    play.drain(play.completed("a", to=[]))
    assert play.statuses() == {"start": "completed", "a": "completed", "b": "skipped", "c": "skipped"}
    assert play.status == "completed"
    play = at("start > a", "start > b")
    assert play.drain(play.failed("a")).status == "failed"


def test_an_engine_that_leaves_makes_no_next_attempt_although_it_is_due() -> None:
    play = at("start > a", retry={"a": RetryPolicy(max_attempts=2, initial_delay_seconds=5)})
    play.fail("a", temporary=True).tick(6).drain()
    assert (play.latest, play.status, play.runnable_in()) == ([], "running", 0)
    play.claim("engine-2")
    assert (play.running, play.attempt("a")) == (["a"], 2)


def test_there_is_nothing_to_claim_of_what_ended_or_never_was() -> None:
    given(AGGREGATE).when(decide_claim, "engine-1", START).then_nothing()
    Play(flow("start")).cancel().given.when(decide_claim, "engine-1", START).then_nothing()


def test_a_former_epoch_is_refused() -> None:
    play = at("start > a").claim("engine-2")
    with pytest.raises(Stale, match="epoch 2, not 1"):
        decide_advance(play.state, 1, (), play.now)


@pytest.mark.parametrize(
    "arrived",
    [
        Completed("a", 1, None, ()),
        Failed("a", 1, FAILURE, True, ()),
        Suspended("a", 1, START),
        Completed("b", 1, None, ()),
        Completed("nobody", 1, None, ()),
        Completed("start", 1, None, ()),
    ],
)
def test_a_former_attempt_and_what_does_not_run_are_refused(arrived: Completed | Failed | Suspended) -> None:
    play = at("start > a > b").claim("engine-2")
    play.given.when(decide_advance, 2, [arrived], play.now).refused(Code.RESOURCE_CONFLICT, contains="not running")


def test_a_result_said_twice_is_refused() -> None:
    play = at("start > a > b")
    result = play.completed("a")
    with pytest.raises(Stale):
        play.take(result, result)


# the rule of settled connections


def test_a_sequence_runs_one_after_the_other_and_each_step_is_one_append() -> None:
    play = Play(flow("start > a > end")).claim()
    assert play.running == ["start"]
    play.complete("start")
    assert [event.type for event in play.latest] == ["component.completed", "component.started"]
    play.complete("a").complete("end")
    assert [event.type for event in play.latest] == ["component.completed", "execution.completed"]


def test_a_single_start_is_a_whole_workflow() -> None:
    Play(flow("start")).claim().given.when(decide_advance, 1, [Completed("start", 1, {"x": 1}, ())], START).then(
        like(events.ComponentCompleted, component_id="start"),
        like(events.ExecutionCompleted, status="completed", results={"start": {"x": 1}}),
    )


def test_a_fork_starts_all_branches_in_one_append() -> None:
    play = at("start > a", "start > b", "start > c")
    assert play.running == ["a", "b", "c"]


def test_a_join_waits_for_all_its_branches() -> None:
    play = at("start > a > join", "start > b > join").complete("b")
    assert play.running == ["a"]
    play.complete("a")
    assert play.running == ["join"]


def test_branches_that_end_together_start_their_join_once() -> None:
    play = at("start > a > join", "start > b > join").complete("a", "b")
    assert [event.type for event in play.latest] == [
        "component.completed",
        "component.completed",
        "component.started",
    ]


def test_a_choice_skips_the_other_branch_all_the_way_down() -> None:
    play = at("start > choice ?> a > b > c", "choice ?> x > y > z").complete("choice", to=["a"])
    assert play.statuses() == {
        "start": "completed",
        "choice": "completed",
        "x": "skipped",
        "y": "skipped",
        "z": "skipped",
        "a": "running",
    }


def test_a_merge_after_a_choice_runs_when_the_one_branch_arrives() -> None:
    play = at("start > choice ?> a > merge > end", "choice ?> x > merge").complete("choice", to=["x"])
    assert play.running == ["x"]
    play.complete("x")
    assert play.running == ["merge"]
    play.complete("merge").complete("end")
    assert play.status == "completed"
    assert play.statuses()["a"] == "skipped"


def test_a_choice_may_take_several_branches_and_their_merge_waits_for_both() -> None:
    play = at("start > choice ?> a > merge", "choice ?> b > merge", "choice ?> c > merge")
    play.complete("choice", to=["a", "b"]).complete("a")
    assert play.running == ["b"]
    play.complete("b")
    assert play.running == ["merge"]


def test_a_choice_that_takes_nothing_completes_the_execution() -> None:
    play = at("start > choice ?> a > end").complete("choice", to=[])
    assert play.status == "completed"
    assert play.of(events.ExecutionCompleted)[0].results == {"choice": None}


def test_two_connections_between_the_same_components_count_as_two() -> None:
    play = at("start > a > b", "a ?> b").complete("a")
    assert play.running == ["b"]
    play = at("start > a ?> b", "a !> b").complete("a", to=[])
    assert (play.status, play.statuses()["b"]) == ("completed", "skipped")


def test_other_roots_and_what_only_they_lead_to_are_skipped() -> None:
    play = Play(flow("start > a", "stray > lost > a")).claim()
    assert play.statuses() == {"start": "running", "stray": "skipped", "lost": "skipped"}
    play.complete("start").complete("a")
    assert play.status == "completed"


def test_five_thousand_connections_into_one_settle_it_once() -> None:
    ids = [f"a{number}" for number in range(5000)]
    play = at(*(f"start > {id} > join" for id in ids)).complete(*ids[:-1])
    assert play.running == [ids[-1]]
    play.complete(ids[-1])
    assert play.running == ["join"]


# failures


def test_a_failure_takes_the_error_connection_and_the_run_completes() -> None:
    play = at("start > a > b", "a !> rescue").fail("a")
    assert play.statuses() == {"start": "completed", "a": "failed", "b": "skipped", "rescue": "running"}
    play.complete("rescue")
    assert play.status == "completed"
    assert play.state.failure is None


def test_an_error_connection_is_not_taken_at_completion() -> None:
    play = at("start > a > b", "a !> rescue").complete("a").complete("b")
    assert play.statuses()["rescue"] == "skipped"
    assert play.status == "completed"


def test_a_failure_that_nobody_handles_fails_the_execution_with_its_error() -> None:
    play = at("start > a > b")
    failure = Failure(code="TIMEOUT_ERROR", message="too slow", component_id="a", details={"x": 1})
    play.given.when(decide_advance, 1, [Failed("a", 1, failure, False, ())], play.now).then(
        like(events.ComponentFailed, component_id="a", error=failure, retry_count=0, taken=(), status="failed"),
        like(events.ExecutionFailed, status="failed", error=failure),
    )


def test_an_error_connection_whose_condition_is_false_handles_nothing() -> None:
    assert at("start > a", "a !> rescue").fail("a", to=[]).status == "failed"


def test_fail_fast_cancels_whatever_runs_or_waits() -> None:
    play = at("start > a", "start > b", "start > c", "start > d", retry={"d": RetryPolicy(max_attempts=2)})
    play.suspend("c", 60).fail("d", temporary=True).tick(2).fail("a")
    assert play.statuses() == {
        "start": "completed",
        "a": "failed",
        "b": "cancelled",
        "c": "cancelled",
        "d": "cancelled",
    }
    assert [event.type for event in play.latest[-4:]] == ["component.cancelled"] * 3 + ["execution.failed"]
    assert play.of(events.ComponentCancelled, "b")[0].duration == 2.0


def test_without_fail_fast_the_other_branches_finish_and_then_the_run_fails() -> None:
    play = at("start > a > never", "start > b > c", fail_fast=False).fail("a")
    assert play.running == ["b"]
    assert play.statuses()["never"] == "skipped"
    play.complete("b").complete("c")
    assert play.status == "failed"
    assert play.of(events.ExecutionFailed)[0].error == FAILURE


def test_without_fail_fast_the_first_failure_is_the_one_that_is_told() -> None:
    play = at("start > a", "start > b", fail_fast=False)
    second = Failure(code="COMPONENT_ERROR", message="the second")
    play.fail("a").take(Failed("b", 1, second, False, ()))
    assert play.of(events.ExecutionFailed)[0].error == FAILURE


def test_a_failure_and_a_result_that_arrive_together_are_both_recorded() -> None:
    play = at("start > a", "start > b")
    play.take(play.failed("a"), play.completed("b", output=1))
    assert play.statuses() == {"start": "completed", "a": "failed", "b": "completed"}
    assert play.status == "failed"


# retries


def test_retries_wait_with_backoff_up_to_a_limit_and_max_attempts_includes_the_first() -> None:
    play = at("start > a", retry=THRICE)
    waits = []
    for _ in range(2):
        play.fail("a", temporary=True)
        waits.append(play.runnable_in())
        assert play.running == []
        play.tick(waits[-1] or 0).take()
    assert waits == [10, 25], "the second is 30, cut to the limit"
    play.fail("a", temporary=True)
    assert [event.attempt for event in play.of(events.ComponentStarted, "a")] == [1, 2, 3]
    assert [event.retry_count for event in play.of(events.ComponentRetryScheduled)] == [1, 2]
    assert play.status == "failed"


def test_jitter_is_a_fifth_either_way() -> None:
    for jitter, wait in ((-1.0, 8), (0.0, 10), (1.0, 12)):
        play = at("start > a", retry=THRICE).fail("a", temporary=True, jitter=jitter)
        assert play.runnable_in() == wait


def test_a_retry_says_when_and_why() -> None:
    play = at("start > a", retry=THRICE)
    play.given.when(decide_advance, 1, [play.failed("a", temporary=True)], play.now).then(
        like(
            events.ComponentRetryScheduled,
            component_id="a",
            attempt=1,
            retry_count=1,
            retry_at=plus(play.now, 10),
            error=FAILURE,
            status="pending",
        )
    )


def test_a_final_failure_is_not_retried() -> None:
    assert at("start > a", retry=THRICE).fail("a").status == "failed"


def test_without_a_policy_a_temporary_failure_is_final() -> None:
    assert at("start > a").fail("a", temporary=True).status == "failed"


def test_the_error_connection_is_taken_only_when_the_retries_are_spent() -> None:
    play = at("start > a", "a !> rescue", retry={"a": RetryPolicy(max_attempts=2, initial_delay_seconds=0)})
    play.fail("a", temporary=True)
    assert play.running == ["a"], "the next attempt is due at once"
    play.fail("a", temporary=True)
    assert play.running == ["rescue"]


def test_the_join_of_a_branch_that_is_retried_waits_for_it() -> None:
    play = at("start > a > join", "start > b > join", retry=THRICE).fail("a", temporary=True).complete("b")
    assert play.running == []
    play.tick(10).take().complete("a")
    assert play.running == ["join"]


def test_a_component_that_succeeds_after_a_failure_shows_no_error() -> None:
    play = at("start > a", retry=THRICE).fail("a", temporary=True).tick(10).take().complete("a")
    assert play.state.components["a"].error is None
    assert play.status == "completed"


# timers


def test_a_suspended_component_waits_and_then_completes() -> None:
    play = at("start > a > end").suspend("a", 30)
    assert [event.type for event in play.latest] == ["timer.scheduled"]
    assert play.running == []
    play.tick(30)
    play.given.when(decide_advance, 1, [TimerDue("a", None, (1,))], play.now).then(
        like(events.TimerFired, component_id="a", fires_at=play.now),
        like(events.ComponentCompleted, component_id="a", output_data=None, duration=30.0),
        like(events.ComponentStarted, component_id="end"),
    )


def test_a_timer_before_its_time_or_of_nothing_changes_nothing() -> None:
    play = at("start > a > end").suspend("a", 30).tick(29.999)
    play.given.when(decide_advance, 1, [TimerDue("a", None, ()), TimerDue("end", None, ())], play.now).then_nothing()


def test_a_timer_fires_once() -> None:
    play = at("start > a > end").suspend("a", 30).tick(30)
    due = TimerDue("a", None, (1,))
    play.take(due, due)
    assert play.types.count("timer.fired") == 1


def test_a_component_may_fail_at_its_timer_and_take_its_error_connection() -> None:
    play = at("start > a > end", "a !> rescue").suspend("a", 30).tick(30)
    play.take(TimerDue("a", None, play.taken("a", ("!>",), None), FAILURE))
    assert [event.type for event in play.latest][:2] == ["timer.fired", "component.failed"]
    assert play.running == ["rescue"]


# time limits


def test_an_execution_that_runs_too_long_fails() -> None:
    play = at("start > a", max_execution_time=60).tick(59.999).take()
    assert play.status == "running"
    play.tick(0.001)
    play.given.when(decide_advance, 1, [], play.now).then(
        like(events.ComponentCancelled, component_id="a", status="cancelled"),
        like(
            events.ExecutionFailed,
            error=Failure(code="TIMEOUT_ERROR", message="the execution ran longer than 60 seconds"),
        ),
    )


def test_the_limit_counts_from_the_start_not_from_the_creation() -> None:
    play = Play(flow("start > a", max_execution_time=60)).tick(100).claim().complete("start")
    assert play.status == "running"


def test_what_completes_at_the_last_moment_wins_over_the_limit_only_if_it_ends_the_run() -> None:
    play = at("start > a > b", max_execution_time=60).tick(60).complete("a")
    assert (play.status, play.statuses()["a"]) == ("failed", "completed")


def test_is_due_says_whether_something_can_happen_now() -> None:
    play = at("start > a").suspend("a", 5)
    assert not is_due(play.state, play.now)
    assert is_due(play.state, plus(play.now, 5))


# ends


def test_cancelling_ends_the_run_at_once_and_with_it_whatever_runs() -> None:
    play = at("start > a > b", "start > c")
    play.given.when(decide_cancel, PERSON, "no longer needed", plus(play.now, 3)).then(
        like(events.ComponentCancelled, component_id="a", duration=3.0),
        like(events.ComponentCancelled, component_id="c"),
        like(events.ExecutionCancelled, status="cancelled", cancelled_by=PERSON, reason="no longer needed"),
    )


def test_a_queued_or_pending_execution_can_be_cancelled() -> None:
    assert [event.type for event in Play(flow("start")).cancel().latest] == ["execution.cancelled"]
    assert Play(flow("start"), scheduled_at=plus(START, 60)).cancel().status == "cancelled"


def test_late_results_of_a_cancelled_run_change_nothing_whatever_their_epoch() -> None:
    play = at("start > a")
    late = play.completed("a")
    play.cancel()
    play.given.when(decide_advance, 1, [late], play.now).then_nothing()
    play.given.when(decide_advance, 7, [late], play.now).then_nothing()


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_what_has_ended_cannot_be_cancelled(end: str) -> None:
    play = Play(flow("start")).claim()
    ends: dict[str, Callable[[], Play]] = {
        "completed": lambda: play.complete("start"),
        "failed": lambda: play.fail("start"),
        "cancelled": play.cancel,
    }
    ends[end]()
    refusal = play.given.when(decide_cancel, PERSON, None, START).refused(Code.RESOURCE_CONFLICT, field="status")
    assert refusal.problems[0].details == {"current_status": end}


def test_what_never_was_is_not_cancelled() -> None:
    given(AGGREGATE).when(decide_cancel, PERSON, None, START).then_nothing()


def test_results_are_the_outputs_of_the_ends_merged() -> None:
    play = at("start > end1", "start > end2", "start > a")
    play.complete("a", output={"no": 1}).complete("end1", output={"x": 1, "y": 1}).complete("end2", output={"y": 2})
    assert play.of(events.ExecutionCompleted)[0].results == {"x": 1, "y": 2}


def test_an_end_that_was_skipped_gives_no_results() -> None:
    play = at("start > a", "start ?> end").complete("a", output=7)
    assert play.of(events.ExecutionCompleted)[0].results == {"a": 7}


def test_without_ends_results_are_the_outputs_of_the_completed_leaves_by_id() -> None:
    play = at("start > a > b", "start > c", "start > d", "d !> e").complete("a", output=1).complete("b", output=2)
    play.complete("c", output=None).complete("d", output=[4])
    assert play.of(events.ExecutionCompleted)[0].results == {"b": 2, "c": None, "d": [4]}


# what the log shows


def test_log_lines_come_before_the_end_of_their_component() -> None:
    play = at("start > a").complete("a", logs=["one", "two"])
    assert [event.type for event in play.latest[:3]] == ["log.written", "log.written", "component.completed"]
    assert [(event.message, event.component_id) for event in play.of(events.LogWritten)] == [
        ("one", "a"),
        ("two", "a"),
    ]


def configured(config: dict[str, object], parameters: dict[str, object]) -> Event:
    plan = flow("start > a")
    start, a = plan.components
    plan = structs.replace(plan, components=(start, structs.replace(a, config=config)))
    play = Play(plan, parameters).claim().complete("start", output={"y": [1, 2]})
    return play.latest[-1]


def test_a_started_component_shows_its_input_with_references_resolved_and_secrets_redacted() -> None:
    event = configured(
        {"message": "${start.output.y[1]}", "all": ["{{x}}", "is {{token}}!"]},
        {"x": True, "token": "sealed:v1:AAAA-_="},
    )
    assert isinstance(event, events.ComponentStarted)
    assert event.input_data == {"message": 2, "all": [True, "is [REDACTED]!"]}


def test_an_input_of_more_than_16_kib_is_not_shown() -> None:
    event = configured({"message": "{{x}}"}, {"x": "y" * 16_384})
    assert isinstance(event, events.ComponentStarted)
    assert event.input_data is None


def test_the_input_of_a_reference_into_nowhere_is_null() -> None:
    play = at("start > a")
    graph = play.state.map
    graph.components["a"] = structs.replace(graph.components["a"], config={"message": "${nobody.output.x[0].y}"})
    assert shown_input(play.state, "a") == {"message": None}


def test_an_index_of_five_thousand_digits_leads_nowhere() -> None:
    event = configured({"message": "${start.output.y." + "9" * 5000 + "}"}, {})
    assert isinstance(event, events.ComponentStarted)
    assert event.input_data == {"message": None}
