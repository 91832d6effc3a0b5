"""What may happen to a task in every status, and what its fold and its row make of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from executor.domain.errors import Code
from executor.domain.events import CATALOGUE, Event, task
from executor.domain.task.decide import (
    Opening,
    Origin,
    Step,
    decide_abandon,
    decide_assign,
    decide_cancel,
    decide_claim,
    decide_complete,
    decide_create,
    decide_escalate,
    decide_expire,
    decide_fail,
    decide_reassign,
    decide_release,
    decide_retry,
    decide_start,
    ending,
)
from executor.domain.task.rows import AGGREGATE, KEPT_BYTES, NEVER, TaskRow, is_overdue, view, view_of
from executor.domain.task.state import OPEN, State, TaskKind, initial
from executor.domain.values import plus
from tests.given import START, Given, given, like

ORIGIN = Origin("W", "report", "X", "ask", "", 1, 7)
LATER = plus(START, 60)
HUMAN, EXTERNAL = (
    decide_create(initial(), Opening(kind=kind, title="do it", task_type="render"), ORIGIN, START)
    for kind in (TaskKind.HUMAN, TaskKind.EXTERNAL)
)


def after(*decides: Callable[[State], Sequence[Event]], of: Sequence[Event] = HUMAN) -> Given[State]:
    now = given(AGGREGATE, *of)
    for decide in decides:
        now = given(AGGREGATE, *now.facts, *now.when(decide).events)
    return now


def assign(state: State) -> list[Event]:
    return decide_assign(state, "ada", "me")


def begin(state: State) -> list[Event]:
    return decide_start(state, "ada", "me") if state.is_human else decide_claim(state, "w", "L1", 60)


def complete(state: State) -> list[Event]:
    return decide_complete(state, {"x": 1}, "fine", None, "me", LATER)


def fail(state: State) -> list[Event]:
    return decide_fail(state, "no", True, None, "me", LATER)


def cancel(state: State) -> list[Event]:
    return decide_cancel(state, "why", "me", LATER)


IN = {
    "pending": after(),
    "assigned": after(assign),
    "running": after(begin),
    "completed": after(complete),
    "failed": after(fail),
    "cancelled": after(cancel),
}
WORKING = {
    "pending": after(of=EXTERNAL),
    "running": after(begin, of=EXTERNAL),
    "completed": after(complete, of=EXTERNAL),
    "failed": after(fail, of=EXTERNAL),
    "cancelled": after(cancel, of=EXTERNAL),
}
OF_PEOPLE: dict[str, tuple[Callable[[State], list[Event]], dict[str, str]]] = {
    "assign": (assign, {"pending": "task.assigned", "assigned": "", "running": ""}),
    "start": (begin, {"pending": "task.assigned task.started", "assigned": "task.started"}),
    "release": (
        lambda state: decide_release(state, None, None),
        {"assigned": "task.released", "running": "task.released"},
    ),
    "reassign": (
        lambda state: decide_reassign(state, "bob", None),
        dict.fromkeys(("pending", "assigned", "running"), "task.reassigned"),
    ),
    "complete": (complete, dict.fromkeys(("pending", "assigned", "running"), "task.completed")),
    "fail": (fail, dict.fromkeys(("pending", "assigned", "running"), "task.failed")),
    "cancel": (cancel, dict.fromkeys(("pending", "assigned", "running"), "task.cancelled")),
    "retry": (
        lambda state: decide_retry(state, "me"),
        dict.fromkeys(("failed", "cancelled"), "task.retried"),
    ),
}
OF_WORKERS: dict[str, tuple[Callable[[State], list[Event]], dict[str, str]]] = {
    "claim": (begin, {"pending": "task.started"}),
    "release": (lambda state: decide_release(state, "w", None), {"running": "task.released"}),
    "complete": (complete, dict.fromkeys(("pending", "running"), "task.completed")),
    "fail": (fail, dict.fromkeys(("pending", "running"), "task.failed")),
    "cancel": (cancel, dict.fromkeys(("pending", "running"), "task.cancelled")),
}


@pytest.mark.parametrize("status", IN)
@pytest.mark.parametrize("command", OF_PEOPLE)
def test_what_people_may_do_in_every_status(command: str, status: str) -> None:
    decide, legal = OF_PEOPLE[command]
    check(IN[status], decide, legal.get(status), status)


@pytest.mark.parametrize("status", WORKING)
@pytest.mark.parametrize("command", OF_WORKERS)
def test_what_workers_may_do_in_every_status(command: str, status: str) -> None:
    decide, legal = OF_WORKERS[command]
    check(WORKING[status], decide, legal.get(status), status)


def check(before: Given[State], decide: Callable[[State], list[Event]], types: str | None, status: str) -> None:
    assert before.state.status == status
    outcome = before.when(decide)
    if types is None:
        refusal = outcome.refused(Code.RESOURCE_CONFLICT, contains=status, field="status")
        assert refusal.problems[0].details == {"current_status": status}
    else:
        assert [event.type for event in outcome.events] == types.split()
        assert all(event.type in CATALOGUE for event in outcome.events)


@pytest.mark.parametrize("decide", [decide for decide, _ in OF_PEOPLE.values()])
def test_what_is_not_there_is_not_found(decide: Callable[[State], list[Event]]) -> None:
    given(AGGREGATE).when(decide).refused(Code.RESOURCE_NOT_FOUND)


def test_people_and_workers_have_commands_of_their_own() -> None:
    after().when(decide_claim, "w", "L", 60).refused(Code.RESOURCE_CONFLICT, field="kind")
    for decide, arguments in (
        (decide_assign, ("a", "me")),
        (decide_start, ("a", "me")),
        (decide_reassign, ("a", None)),
    ):
        after(of=EXTERNAL).when(decide, *arguments).refused(Code.RESOURCE_CONFLICT, field="kind")


def test_a_task_begins_as_somebodys_where_its_definition_says_so() -> None:
    opening = Opening(kind=TaskKind.HUMAN, title="t", assignee="ada", due_in_seconds=60, priority=2)
    outcome = given(AGGREGATE).when(decide_create, opening, ORIGIN, START)
    outcome.then(
        like(task.TaskCreated, status="pending", assignee=None, due_at=LATER, priority=2),
        like(task.TaskAssigned, status="assigned", assignee="ada", assigned_by=None, execution_id="X"),
    )
    given(AGGREGATE, *outcome.events).when(decide_create, opening, ORIGIN, START).refused(Code.RESOURCE_CONFLICT)
    assert after().state.priority == 7


def test_only_candidates_may_have_it() -> None:
    created = decide_create(
        initial(), Opening(kind=TaskKind.HUMAN, title="t", candidates=("ada", "bob")), ORIGIN, START
    )
    for decide in (decide_assign, decide_start):
        after(of=created).when(decide, "eve", "me").refused(Code.RESOURCE_CONFLICT, field="assignee")
        assert after(of=created).when(decide, "bob", "me").events
    after(of=created).when(decide_complete, 1, None, "eve", "me", LATER).refused(Code.RESOURCE_CONFLICT)
    after(of=created).when(decide_complete, 1, None, "bob", "me", LATER).then(
        like(task.TaskCompleted, assignee="bob")
    )
    after(of=created).when(decide_reassign, "eve", None).then(like(task.TaskReassigned, assignee="eve"))


def test_what_is_anothers_is_refused_by_name() -> None:
    IN["assigned"].when(decide_assign, "bob", "me").refused(Code.RESOURCE_CONFLICT, contains="ada", field="assignee")
    IN["running"].when(decide_release, "bob", None).refused(Code.RESOURCE_CONFLICT, contains="ada", field="assignee")
    held = WORKING["running"]
    held.when(decide_complete, 1, None, "x", "me", LATER).refused(Code.RESOURCE_CONFLICT, field="worker_id")
    held.when(decide_fail, "e", False, "x", "me", LATER).refused(Code.RESOURCE_CONFLICT, field="worker_id")
    WORKING["pending"].when(decide_complete, 1, None, "w", "me", LATER).refused(Code.RESOURCE_CONFLICT)


def test_a_lease_that_ran_out_frees_only_the_claim_that_it_was() -> None:
    held = WORKING["running"]
    held.when(decide_expire, "L1").then(
        like(task.TaskReleased, reason="lease_expired", former_assignee="w", assignee=None, status="pending")
    )
    held.when(decide_expire, "L0").then_nothing()
    again = after(begin, lambda s: decide_expire(s, "L1"), lambda s: decide_claim(s, "w", "L2", 60), of=EXTERNAL)
    again.when(decide_expire, "L1").then_nothing()
    assert (again.state.claims, again.state.lease_id) == (2, "L2")
    WORKING["completed"].when(decide_expire, "L1").then_nothing()


def test_levels_come_in_order_once_each_and_stop_where_it_ends() -> None:
    steps = (Step(after_seconds=20, reassign_to="boss"), Step(after_seconds=10, notify=("ops",)), Step())
    opening = Opening(kind=TaskKind.HUMAN, title="t", due_in_seconds=30, escalation=steps)
    of = decide_create(initial(), opening, ORIGIN, START)
    assert after(of=of).state.wakes_at == plus(START, 10)
    after(of=of).when(decide_escalate, plus(START, 9)).then_nothing()
    both = after(of=of).when(decide_escalate, plus(START, 20))
    both.then(
        like(task.TaskEscalated, level=1, notify=("ops",), reassign_to=None, assignee=None),
        like(task.TaskEscalated, level=2, reassign_to="boss", assignee=None),
        like(task.TaskReassigned, assignee="boss", former_assignee=None, reason="escalated", status="assigned"),
    )
    assert both.state.wakes_at == plus(START, 30)
    given(AGGREGATE, *of, *both.events).when(decide_escalate, plus(START, 20)).then_nothing()
    last = given(AGGREGATE, *of, *both.events).when(decide_escalate, plus(START, 31))
    last.then(like(task.TaskEscalated, level=3, assignee="boss"))
    assert last.state.wakes_at is None
    after(complete, of=of).when(decide_escalate, LATER).then_nothing()


@pytest.mark.parametrize("status", IN)
def test_giving_up_is_silent_where_it_has_ended(status: str) -> None:
    events = IN[status].when(decide_abandon, "over", LATER).events
    assert [event.type for event in events] == (["task.cancelled"] if status in OPEN else [])


def test_the_run_hears_of_an_end_and_of_nothing_else() -> None:
    (completed,), (failed,), (cancelled,) = (IN["pending"].when(each).events for each in (complete, fail, cancel))
    assert msgspec.to_builtins(ending(completed)) == {
        "status": "completed",
        "output": {"x": 1},
        "error": None,
        "retryable": False,
    }
    told = ending(failed)
    assert told is not None
    assert (told.status, told.error, told.retryable) == ("failed", "no", True)
    told = ending(cancelled)
    assert told is not None
    assert (told.status, told.error) == ("cancelled", "why")
    assert ending(IN["pending"].when(assign).events[0]) is None


def test_the_row_shows_the_task_without_secrets_and_leaves_large_things_out() -> None:
    opening = Opening(
        kind=TaskKind.EXTERNAL,
        title="t",
        task_type="render",
        input={"key": "sealed:v1:AAAA", "text": "x" * KEPT_BYTES},
    )
    state = after(of=decide_create(initial(), opening, ORIGIN, START)).state
    (row,) = AGGREGATE.rows(initial(), state)
    assert isinstance(row, TaskRow)
    assert (row.claimable_type, row.due_at, row.wakes_at, row.status) == ("render", NEVER, None, "pending")
    assert b"sealed:v1" not in row.document
    assert (view_of(row).input, view_of(row).omitted) == (None, ("input",))
    assert view(state).input["key"] == "[REDACTED]"
    half = "x" * (KEPT_BYTES // 2)
    both = Opening(kind=TaskKind.HUMAN, title="t", data=half, form={"description": half + "y"})
    (row,) = AGGREGATE.rows(initial(), after(of=decide_create(initial(), both, ORIGIN, START)).state)
    assert isinstance(row, TaskRow)
    assert (view_of(row).data, view_of(row).form, view_of(row).omitted) == (half, None, ("form",))
    (row,) = AGGREGATE.rows(initial(), WORKING["running"].state)
    assert isinstance(row, TaskRow)
    assert (row.claimable_type, row.assignee) == (None, "w")


def test_what_is_open_past_its_time_is_overdue() -> None:
    of = decide_create(initial(), Opening(kind=TaskKind.HUMAN, title="t", due_in_seconds=10), ORIGIN, START)
    assert not is_overdue(view(after(of=of).state), plus(START, 10))
    assert is_overdue(view(after(of=of).state), plus(START, 11))
    assert not is_overdue(view(after(complete, of=of).state), plus(START, 11))
    assert not is_overdue(view(after().state), LATER)
    for state, due_at in ((after(of=of).state, plus(START, 10)), (after(complete, of=of).state, NEVER)):
        (row,) = AGGREGATE.rows(initial(), state)
        assert isinstance(row, TaskRow)
        assert row.due_at == due_at


COMMANDS = [*(decide for decide, _ in OF_PEOPLE.values()), *(decide for decide, _ in OF_WORKERS.values())]


@examples(st.sampled_from([HUMAN, EXTERNAL]), st.lists(st.sampled_from(COMMANDS), max_size=8))
def test_whatever_is_done_a_task_ends_once_and_nobody_has_what_waits(
    of: list[Event], commands: list[Callable[[State], list[Event]]]
) -> None:
    now, ends = given(AGGREGATE, *of), 0
    for command in commands:
        outcome = now.when(command)
        ends += sum(ending(event) is not None for event in outcome.events)
        now = given(AGGREGATE, *now.facts, *outcome.events)
        state = now.state
        assert (state.status == "pending") <= (state.assignee is None)
        assert (state.lease_id is not None) == (state.is_open and not state.is_human and state.status == "running")
        assert (state.completed_at is not None) == (ends == 1)
        (row,) = AGGREGATE.rows(initial(), state)
        assert view_of(row).status == state.status  # type: ignore[arg-type]
    assert ends <= 1
