from __future__ import annotations

from typing import Any

import pytest

from executor.domain.errors import Code
from executor.domain.events import Event
from executor.domain.events.schedule import (
    ScheduleCreated,
    ScheduleDeleted,
    ScheduleFired,
    SchedulePaused,
    ScheduleReleased,
    ScheduleResumed,
    ScheduleSkipped,
    ScheduleUpdated,
    SkipReason,
)
from executor.domain.events.workflow import WorkflowDeleted
from executor.domain.schedule import AGGREGATE, Next, ScheduleRow, State, Status, Turn, names, rows, state_of, view
from executor.domain.schedule_decide import (
    Change,
    Found,
    Refused,
    decide_create,
    decide_delete,
    decide_due,
    decide_pause,
    decide_release,
    decide_resume,
    decide_trigger,
    decide_update,
)
from executor.domain.values import plus
from tests.given import ORGANIZATION, PERSON, START, SUBJECT, given, like

ONE, TWO, THREE = (plus(START, hours * 3600) for hours in (1, 2, 3))
NEXT = Next(TWO, plus(TWO, 5))


def coming(_: State) -> Next:
    return Next(ONE, ONE)


def created(**fields: Any) -> Event:
    change = Change(name="nightly", workflow_id="w", **{"cron": "0 * * * *"} | fields)
    (event,) = decide_create(State(), change, SUBJECT, START, coming)
    return event


def fired(id: str, **fields: Any) -> ScheduleFired:
    told = {"workflow_id": "w", "scheduled_time": ONE, "next_time": TWO, "next_run_at": TWO}
    return ScheduleFired(name="nightly", execution_id=id, **told | fields)


CREATED = created()
PAUSED = SchedulePaused(name="nightly")
DELETED = ScheduleDeleted(name="nightly")
DUE = Turn(runs=ONE, missed=None, until=ONE, next=NEXT)


def test_creating_says_everything_and_when_it_comes() -> None:
    given(AGGREGATE).when(
        decide_create, Change(name="nightly", workflow_id="w", cron="@daily"), SUBJECT, START, coming
    ).then(
        like(
            ScheduleCreated, name="nightly", cron="@daily", timezone="UTC", overlap_policy="skip", catch_up="latest"
        ),
    )
    state = given(AGGREGATE, CREATED).state
    assert (state.id, state.organization_id, state.created_by) == (SUBJECT, ORGANIZATION, PERSON)
    assert (state.status, state.next_run_at, state.anchor) == (Status.ACTIVE, ONE, START)


def test_one_that_is_created_paused_has_no_next_time() -> None:
    state = given(AGGREGATE, created(is_paused=True)).state
    assert (state.status, state.next_run_at) == (Status.PAUSED, None)


def test_intervals_count_from_the_start_that_is_said() -> None:
    assert given(AGGREGATE, created(cron=None, interval_seconds=60, start_at=THREE)).state.anchor == THREE


def test_an_update_says_what_changed_and_asks_for_the_time_only_where_the_times_are_others() -> None:
    def never(_: State) -> Next:
        raise AssertionError("the times stay as they are")

    given(AGGREGATE, CREATED).when(decide_update, Change(priority=7, name="nightly"), THREE, never).then(
        like(ScheduleUpdated, priority=7, changed=("priority",), next_time=ONE, anchor=START)
    )
    later = Change(timezone="Europe/Berlin")
    given(AGGREGATE, CREATED).when(decide_update, later, THREE, lambda _: NEXT).then(
        like(ScheduleUpdated, changed=("timezone",), next_time=TWO, next_run_at=NEXT.run_at, anchor=THREE)
    )
    given(AGGREGATE, CREATED).when(decide_update, Change(name="nightly"), THREE, never).then_nothing()


def test_one_way_to_say_the_times_replaces_the_other() -> None:
    done = given(AGGREGATE, CREATED).when(decide_update, Change(interval_seconds=60), THREE, coming)
    assert (done.state.cron, done.state.interval_seconds) == (None, 60)
    back = given(AGGREGATE, CREATED, *done.events).when(decide_update, Change(cron="@daily"), THREE, coming)
    assert (back.state.cron, back.state.interval_seconds) == ("@daily", None)


def test_a_parameter_that_is_redacted_stays_what_it_is() -> None:
    sealed = created(parameters={"token": "sealed:v1:x", "n": 1})
    same = Change(parameters={"token": "[REDACTED]", "n": 1})
    given(AGGREGATE, sealed).when(decide_update, same, START, coming).then_nothing()
    other = Change(parameters={"token": "[REDACTED]", "n": True})
    given(AGGREGATE, sealed).when(decide_update, other, START, coming).then(
        like(ScheduleUpdated, parameters={"token": "sealed:v1:x", "n": True}, changed=("parameters",))
    )


def test_pausing_and_resuming() -> None:
    paused = (
        given(AGGREGATE, CREATED)
        .when(decide_pause, "holidays")
        .then(like(SchedulePaused, name="nightly", reason="holidays"))
    )
    assert (paused.state.status, paused.state.next_run_at, paused.state.pause_reason) == (
        Status.PAUSED,
        None,
        "holidays",
    )
    given(AGGREGATE, CREATED, PAUSED).when(decide_pause, None).refused(Code.RESOURCE_CONFLICT, contains="paused")
    resumed = (
        given(AGGREGATE, CREATED, PAUSED)
        .when(decide_resume, lambda _: NEXT)
        .then(ScheduleResumed(name="nightly", next_time=TWO, next_run_at=NEXT.run_at))
    )
    assert (resumed.state.status, resumed.state.pause_reason) == (Status.ACTIVE, None)
    given(AGGREGATE, CREATED).when(decide_resume, coming).refused(Code.RESOURCE_CONFLICT, contains="active")


def test_an_update_pauses_and_resumes_as_well() -> None:
    change = Change(is_paused=True, timezone="Asia/Tokyo")
    done = given(AGGREGATE, CREATED).when(decide_update, change, THREE, coming)
    done.then(like(ScheduleUpdated, changed=("timezone",)), like(SchedulePaused, reason=None))
    assert done.state.next_run_at is None
    given(AGGREGATE, CREATED, PAUSED).when(decide_update, Change(cron="@daily"), THREE, coming).then(
        like(ScheduleUpdated, next_time=None, next_run_at=None)
    )
    given(AGGREGATE, CREATED, PAUSED).when(decide_update, Change(is_paused=False), THREE, coming).then(
        ScheduleResumed(name="nightly", next_time=ONE, next_run_at=ONE)
    )


def test_a_deleted_one_is_gone() -> None:
    given(AGGREGATE, CREATED).when(decide_delete).then(DELETED)
    gone = given(AGGREGATE, CREATED, fired("a"), fired("b", waits=True), DELETED)
    assert (gone.state.executions, gone.state.next_run_at, names(gone.state)) == ((), None, ())
    for decide, arguments in (
        (decide_delete, ()),
        (decide_pause, (None,)),
        (decide_resume, (coming,)),
        (decide_update, (Change(name="x"), START, coming)),
        (decide_trigger, (START, (), "e")),
    ):
        gone.when(decide, *arguments).refused(Code.RESOURCE_NOT_FOUND)
        given(AGGREGATE).when(decide, *arguments).refused(Code.RESOURCE_NOT_FOUND)


def test_names_are_held_in_an_organization() -> None:
    assert names(given(AGGREGATE, CREATED).state) == (f"schedule:{ORGANIZATION}:nightly",)
    given(AGGREGATE, CREATED).when(decide_create, Change(name="x"), SUBJECT, START, coming).refused(
        Code.RESOURCE_CONFLICT
    )


LIVE = ("a", "b")


@pytest.mark.parametrize(
    ("policy", "live", "found"),
    [
        *((policy, (), like(ScheduleFired, waits=False, cancelled=())) for policy in ("skip", "queue", "cancel")),
        ("skip", LIVE, like(ScheduleSkipped, scheduled_time=ONE, until=None, reason="overlap", next_time=TWO)),
        ("queue", LIVE, like(ScheduleFired, waits=True, cancelled=(), execution_id="e")),
        ("queue", (*LIVE, "c"), like(ScheduleSkipped, reason="queue_full")),
        ("cancel", LIVE, like(ScheduleFired, waits=False, cancelled=LIVE)),
        ("allow", LIVE, like(ScheduleFired, waits=False, cancelled=())),
    ],
)
def test_a_time_that_comes(policy: str, live: tuple[str, ...], found: Any) -> None:
    past = (fired("a"), fired("b", waits=True), fired("c", waits=True))
    schedule = created(overlap_policy=policy, queue_limit=2)
    given(AGGREGATE, schedule, *past).when(decide_due, DUE, Found(live=live), "e").then(found)


def test_what_ran_is_known() -> None:
    done = (
        given(AGGREGATE, CREATED)
        .when(decide_due, DUE, Found(), "e")
        .then(
            ScheduleFired(
                name="nightly",
                workflow_id="w",
                scheduled_time=ONE,
                execution_id="e",
                next_time=TWO,
                next_run_at=NEXT.run_at,
            )
        )
    )
    state = done.state
    assert (state.current, state.queue, state.run_count, state.last_execution_id) == ("e", (), 1, "e")
    assert (state.last_time, state.next_time, state.next_run_at) == (ONE, TWO, NEXT.run_at)


def test_missed_times_are_said_before_what_runs() -> None:
    what = Turn(runs=TWO, missed=START, until=TWO, next=Next(THREE, THREE))
    given(AGGREGATE, CREATED).when(decide_due, what, Found(), "e").then(
        like(ScheduleSkipped, scheduled_time=START, until=TWO, reason="missed", next_time=THREE),
        like(ScheduleFired, scheduled_time=TWO, next_time=THREE),
    )
    none = Turn(runs=None, missed=START, until=None, next=Next(None, None))
    done = given(AGGREGATE, CREATED).when(decide_due, none, Found(), "e")
    assert done.then(like(ScheduleSkipped, until=None)).state.status is Status.FINISHED


def test_what_cannot_run_is_skipped_and_what_never_can_is_paused() -> None:
    away = Refused(SkipReason.WORKFLOW, "the workflow is inactive")
    given(AGGREGATE, CREATED).when(decide_due, DUE, Found(refused=away), "e").then(
        like(ScheduleSkipped, reason="workflow", message="the workflow is inactive", next_time=TWO)
    )
    gone = Refused(SkipReason.WORKFLOW, "the workflow was deleted", is_final=True)
    done = (
        given(AGGREGATE, CREATED)
        .when(decide_due, DUE, Found(refused=gone), "e")
        .then(like(ScheduleSkipped, reason="workflow"), like(SchedulePaused, reason="the workflow was deleted"))
    )
    assert (done.state.status, done.state.next_run_at) == (Status.PAUSED, None)
    skipped = done.state.last_skipped
    assert skipped is not None
    assert (skipped.scheduled_time, skipped.message) == (ONE, "the workflow was deleted")


def test_triggering_follows_the_overlap_policy_and_leaves_the_times_alone() -> None:
    done = (
        given(AGGREGATE, CREATED)
        .when(decide_trigger, START, (), "e")
        .then(like(ScheduleFired, is_manual=True, scheduled_time=START, next_time=ONE))
    )
    assert (done.state.last_time, done.state.next_time) == ("", ONE)
    given(AGGREGATE, CREATED, fired("a")).when(decide_trigger, START, ("a",), "e").refused(
        Code.RESOURCE_CONFLICT, contains="'a' still runs"
    )
    paused = given(AGGREGATE, CREATED, PAUSED).when(decide_trigger, START, (), "e").state
    assert (paused.status, paused.current) == (Status.PAUSED, "e")


QUEUED = (created(overlap_policy="queue"), fired("a"), fired("b", waits=True), fired("c", waits=True))


@pytest.mark.parametrize(
    ("live", "first", "current", "queue"),
    [(("b", "c"), "b", "b", ("c",)), (("c",), "c", "c", ()), ((), None, None, ())],
)
def test_the_queue_goes_on_with_the_first_that_is_there(
    live: tuple[str, ...], first: str | None, current: str | None, queue: tuple[str, ...]
) -> None:
    done = (
        given(AGGREGATE, *QUEUED)
        .when(decide_release, live)
        .then(ScheduleReleased(name="nightly", execution_id=first))
    )
    assert (done.state.current, done.state.queue) == (current, queue)


def test_the_queue_waits_while_what_is_before_it_runs() -> None:
    given(AGGREGATE, *QUEUED).when(decide_release, ("a", "b")).then_nothing()
    given(AGGREGATE, *QUEUED[:2]).when(decide_release, ()).then_nothing()


def test_cancelled_ones_leave_the_queue() -> None:
    state = given(AGGREGATE, *QUEUED, fired("d", cancelled=("a", "b", "c"))).state
    assert (state.current, state.queue) == ("d", ())


def test_the_row_says_when_it_comes_what_it_waits_for_and_the_whole_fold() -> None:
    state = given(AGGREGATE, created(parameters={"token": "sealed:v1:x"}), *QUEUED[1:]).state
    (row,) = rows(State(), state)
    assert isinstance(row, ScheduleRow)
    assert (row.runs, row.next_run_at, row.waits_for, row.status) == ("w", TWO, "a", "active")
    assert state_of(row) == state
    shown = view(state)
    assert (shown.parameters, shown.queued_count, shown.status) == ({"token": "[REDACTED]"}, 2, "active")
    assert rows(State(), given(AGGREGATE, CREATED, fired("a")).state)[0].waits_for is None  # type: ignore[attr-defined]


def test_it_is_due_from_its_time_on_unless_it_is_paused() -> None:
    state = given(AGGREGATE, CREATED).state
    assert not state.is_due(plus(ONE, -0.001))
    assert state.is_due(ONE)
    assert not given(AGGREGATE, CREATED, PAUSED).state.is_due(THREE)
    assert not given(AGGREGATE, CREATED, DELETED).state.is_due(THREE)


def test_it_folds_nothing_else() -> None:
    with pytest.raises(TypeError, match="does not fold"):
        given(AGGREGATE, CREATED, WorkflowDeleted(name="n", status="deleted", workflow_version=1))
