"""A run that failed or was cancelled runs again: what is kept, and what follows."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from executor.domain.definition import Definition
from executor.domain.errors import Code, Invalid
from executor.domain.events import execution as events
from executor.domain.values import RetryPolicy
from tests.unit.executor.play import FAILURE, Play, flow


def at(*chains: str, **more: Any) -> Play:
    return Play(flow(*chains, **more)).claim().complete("start")


def changed(definition: Definition, id: str, **config: Any) -> Definition:
    """Another version, in which a component is configured otherwise."""
    components = tuple(
        structs.replace(spec, config=config) if spec.id == id else spec for spec in definition.components
    )
    return structs.replace(definition, components=components)


def test_a_retry_goes_on_from_where_it_stopped() -> None:
    play = at("start > a > b > end").complete("a", output=1).fail("b").retry()
    assert (play.status, play.runnable_in(), play.state.failure, play.state.completed_at) == (
        "queued",
        0.0,
        None,
        None,
    )
    (retried,) = play.of(events.ExecutionRetried)
    assert (retried.kept, retried.progress.percentage, retried.workflow_version) == (("start", "a"), 50, 1)
    play.claim()
    assert [event.type for event in play.latest] == ["execution.started", "component.started"]
    assert (play.running, play.state.components["b"].generation, play.attempt("b")) == (["b"], 1, 2)
    play.complete("b").complete("end", output={"x": 2})
    assert (play.status, play.state.results) == ("completed", {"x": 2})


def test_a_retry_from_a_component_runs_it_and_whatever_comes_after_it_again() -> None:
    play = at("start > a > b > c", "a > side").complete("a").complete("b", "side").fail("c").retry("b")
    assert play.of(events.ExecutionRetried)[0].kept == ("start", "a", "side")
    assert play.statuses() == {
        "start": "completed",
        "a": "completed",
        "b": "pending",
        "side": "completed",
        "c": "pending",
    }
    assert play.claim().running == ["b"]


def test_what_else_did_not_complete_runs_again_too() -> None:
    play = at("start > a", "start > b", "start > c > d").complete("c").fail("a").retry("d").claim()
    assert set(play.running) == {"a", "b", "d"}


@pytest.mark.parametrize("component", ["b", "c"])
def test_a_component_behind_one_that_has_not_completed_cannot_be_retried_from(component: str) -> None:
    play = at("start > a > b > c").fail("a")
    with pytest.raises(Invalid) as refused:
        play.retry(component)
    assert refused.value.problems[0].field == "from_component"
    assert f"'a' comes before '{component}'" in str(refused.value)


def test_there_is_no_retry_from_a_component_that_is_not_there() -> None:
    with pytest.raises(Invalid, match="no component 'nope'") as refused:
        at("start > a").fail("a").retry("nope")
    assert refused.value.code == Code.VALIDATION_ERROR


def test_dead_branches_stay_skipped_and_merges_behind_them_are_kept() -> None:
    play = at("start > choice ?> a > merge > last", "choice ?> x > merge").complete("choice", to=["a"])
    play.complete("a").complete("merge").fail("last").retry().claim()
    assert (play.running, play.statuses()["x"], play.statuses()["merge"]) == (["last"], "skipped", "completed")
    play.complete("last")
    assert play.status == "completed"
    assert play.state.progress.completed_components == 6


def test_what_was_skipped_behind_a_failure_runs_once_that_is_mended() -> None:
    play = at("start > a > never", "start > b", fail_fast=False).fail("a").complete("b").retry().claim()
    assert play.running == ["a"]
    play.complete("a").complete("never")
    assert (play.status, play.statuses()["never"]) == ("completed", "completed")


def test_a_failure_that_was_handled_is_not_tried_again_unless_asked_for() -> None:
    play = at("start > a > b", "a !> rescue > c").fail("a").complete("rescue").fail("c")
    assert Play.retry(play).claim().running == ["c"]
    play.fail("c").retry("a").claim().complete("a")
    assert (play.running, play.statuses()["rescue"], play.statuses()["c"]) == (["b"], "skipped", "skipped")


def test_a_cancelled_run_goes_on_and_one_that_never_started_begins() -> None:
    play = at("start > a > b").cancel().retry().claim()
    assert (play.running, play.state.cancelled_by) == (["a"], None)
    assert Play(flow("start")).cancel().retry().claim().running == ["start"]


def test_waits_begin_anew_and_signals_that_nobody_took_are_still_there() -> None:
    play = at("start > a").suspend("a", None, "x").pause().signal("x", 1).cancel().retry().claim()
    assert play.running == ["a"]
    play.suspend("a", None, "x").hear()
    assert (play.status, play.state.results) == ("completed", {"a": 1})


def test_attempts_go_on_counting_and_the_policy_begins_anew() -> None:
    play = at("start > a", retry={"a": RetryPolicy(max_attempts=2, initial_delay_seconds=0)})
    play.fail("a", temporary=True).fail("a", temporary=True).retry().claim().fail("a", temporary=True)
    assert (play.status, play.running, play.attempt("a")) == ("running", ["a"], 4)


def test_time_limits_count_from_the_retry() -> None:
    play = at("start > a", max_execution_time=60).tick(60).take().tick(1000)
    assert play.status == "failed"
    play.retry().claim()
    assert (play.status, play.state.elapsed(play.now)) == ("running", 0.0)


def test_changed_parameters_are_seen_by_what_runs_again() -> None:
    plan = changed(flow("start > a"), "a", message="{{x}} {{y}}")
    play = Play(plan, {"x": 1, "y": 1}).claim().complete("start").fail("a").retry(y=2).claim()
    assert play.of(events.ComponentStarted, "a")[-1].input_data == {"message": "1 2"}
    assert play.state.run.parameters == {"x": 1, "y": 2}


def test_a_run_may_be_retried_again_and_again() -> None:
    play = at("start > a > b").complete("a")
    for number in range(1, 4):
        play.fail("b").retry().claim()
        assert (play.state.components["b"].generation, play.state.components["a"].generation) == (number, 0)
    play.complete("b")
    assert play.status == "completed"


# another version


def test_on_another_version_what_completed_and_is_the_same_is_kept() -> None:
    play = at("start > a > b > c").complete("a", output=1).complete("b").fail("c")
    other = changed(flow("start > a > b > c > d"), "b", message="another")
    play.retry(on=other, taken={"start": (0,), "a": (1,), "b": (2,)})
    (retried,) = play.of(events.ExecutionRetried)
    assert (retried.workflow_version, retried.kept, retried.progress.total_components) == (2, ("start", "a", "b"), 5)


def test_whatever_comes_after_a_component_that_changed_runs_again() -> None:
    play = at("start > a > b > c").complete("a", output=1).complete("b").fail("c")
    play.retry(on=changed(flow("start > a > b > c"), "a", message="another"), taken={"start": (0,), "b": (2,)})
    assert play.of(events.ExecutionRetried)[0].kept == ("start",)
    assert play.claim().running == ["a"]


def test_connections_of_another_version_are_taken_as_they_are_found_there() -> None:
    play = Play(flow("start ?> a", "start ?> b")).claim().complete("start", to=["a"]).fail("a")
    play.retry(on=flow("start ?> a", "start ?> b"), taken={"start": (1,)}).claim()
    assert (play.running, play.statuses()["a"]) == (["b"], "skipped")


def test_what_another_version_has_no_more_does_not_count() -> None:
    play = at("start > a", "start > b").complete("a", output=1).fail("b")
    play.retry(on=flow("start > c"), taken={"start": (0,)}).claim().complete("c", output=3)
    assert (play.status, play.state.results) == ("completed", {"c": 3})
    assert play.state.progress.completed_components == play.state.progress.total_components == 2
    assert play.statuses()["b"] == "failed", "what happened, happened"


def test_a_component_that_has_another_type_there_shows_it() -> None:
    play = at("start > a").fail("a")
    other = flow("start > a")
    start, a = other.components
    play.retry(on=structs.replace(other, components=(start, structs.replace(a, type="end"))), taken={"start": (0,)})
    assert play.state.components["a"].type == "end"


def test_the_failure_of_a_retried_run_is_its_latest() -> None:
    play = at("start > a > b").fail("a").retry().claim().complete("a").fail("b")
    assert play.state.failure == FAILURE
    assert len(play.of(events.ExecutionFailed)) == 2
