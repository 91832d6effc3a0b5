from __future__ import annotations

from typing import Any

import msgspec
import pytest

from executor.domain.definition import ComponentSpec, Definition
from executor.domain.errors import Code, ResourceConflict
from executor.domain.events import Event
from executor.domain.events.apikey import ApiKeyRevoked
from executor.domain.events.workflow import (
    WorkflowActivated,
    WorkflowArchived,
    WorkflowCreated,
    WorkflowDeactivated,
    WorkflowDeleted,
    WorkflowUpdated,
)
from executor.domain.workflow import (
    AGGREGATE,
    Change,
    WorkflowRow,
    decide_activate,
    decide_archive,
    decide_create,
    decide_deactivate,
    decide_delete,
    decide_update,
    require_runnable,
)
from tests.given import ORGANIZATION, PERSON, START, SUBJECT, given, like
from tests.unit.executor.play import flow

FACTS: dict[str, Any] = {"name": "report", "workflow_version": 1}
CREATED = WorkflowCreated(
    **FACTS,
    status="draft",
    description="Every night",
    definition=flow("start > end"),
    category="finance",
    tags=("nightly",),
    priority=8,
)
ACTIVATED = WorkflowActivated(**FACTS, status="active")
DEACTIVATED = WorkflowDeactivated(**FACTS, status="inactive")
ARCHIVED = WorkflowArchived(**FACTS, status="archived")
DELETED = WorkflowDeleted(**FACTS, status="deleted")
IN: dict[str, tuple[Event, ...]] = {
    "draft": (CREATED,),
    "active": (CREATED, ACTIVATED),
    "inactive": (CREATED, ACTIVATED, DEACTIVATED),
    "archived": (CREATED, ARCHIVED),
}


def configured(value: object) -> Definition:
    return Definition(components=(ComponentSpec(id="start", type="start", config={"x": value}),))


def test_creation_makes_a_draft_of_version_1() -> None:
    change = Change(
        name="report",
        description="Every night",
        definition=flow("start > end"),
        category="finance",
        tags=("nightly",),
        priority=8,
    )
    given(AGGREGATE).when(decide_create, change).then(CREATED)


def test_what_creation_leaves_out_has_defaults() -> None:
    given(AGGREGATE).when(decide_create, Change(name="x", definition=flow("start"))).then(
        like(WorkflowCreated, name="x", description=None, category=None, tags=(), priority=5, status="draft")
    )


def test_a_workflow_is_created_once() -> None:
    given(AGGREGATE, CREATED).when(decide_create, Change(name="x", definition=flow("start"))).refused(
        Code.RESOURCE_CONFLICT, contains="exists"
    )


@pytest.mark.parametrize("status", ["draft", "inactive", "archived"])
def test_all_but_active_ones_can_be_activated(status: str) -> None:
    given(AGGREGATE, *IN[status]).when(decide_activate).then(ACTIVATED)


@pytest.mark.parametrize("status", ["draft", "active", "inactive"])
def test_all_but_archived_ones_can_be_archived(status: str) -> None:
    given(AGGREGATE, *IN[status]).when(decide_archive).then(ARCHIVED)


def test_only_active_ones_can_be_deactivated() -> None:
    given(AGGREGATE, *IN["active"]).when(decide_deactivate).then(DEACTIVATED)


@pytest.mark.parametrize("status", IN)
def test_any_can_be_deleted(status: str) -> None:
    given(AGGREGATE, *IN[status]).when(decide_delete).then(DELETED)


@pytest.mark.parametrize(
    ("status", "decide"),
    [
        ("active", decide_activate),
        ("draft", decide_deactivate),
        ("inactive", decide_deactivate),
        ("archived", decide_deactivate),
        ("archived", decide_archive),
    ],
)
def test_an_illegal_transition_names_the_current_status(status: str, decide: Any) -> None:
    refusal = (
        given(AGGREGATE, *IN[status]).when(decide).refused(Code.RESOURCE_CONFLICT, contains=status, field="status")
    )
    assert refusal.problems[0].details == {"current_status": status}


@pytest.mark.parametrize("decide", [decide_activate, decide_deactivate, decide_archive, decide_delete])
def test_what_is_deleted_or_never_was_is_not_found(decide: Any) -> None:
    given(AGGREGATE, CREATED, DELETED).when(decide).refused(Code.RESOURCE_NOT_FOUND, contains=SUBJECT)
    given(AGGREGATE).when(decide).refused(Code.RESOURCE_NOT_FOUND)
    given(AGGREGATE, CREATED, DELETED).when(decide_update, Change(name="x")).refused(Code.RESOURCE_NOT_FOUND)


# changes


def test_a_change_merges_top_level_fields_and_says_which_differ() -> None:
    given(AGGREGATE, CREATED, ACTIVATED).when(
        decide_update, Change(name="annual report", category=None, priority=8)
    ).then(
        WorkflowUpdated(
            name="annual report",
            status="active",
            workflow_version=1,
            description="Every night",
            definition=CREATED.definition,
            category=None,
            tags=("nightly",),
            priority=8,
            changed=("name", "category"),
        )
    )


def test_a_changed_definition_is_a_new_version() -> None:
    outcome = given(AGGREGATE, CREATED).when(decide_update, Change(definition=flow("start > a > end")))
    outcome.then(like(WorkflowUpdated, workflow_version=2, changed=("definition",)))
    assert outcome.state.version == 2
    assert outcome.state.stream_version == 2


def test_a_change_that_changes_nothing_is_no_event() -> None:
    same = Change(name="report", definition=flow("start > end"), tags=("nightly",))
    given(AGGREGATE, CREATED).when(decide_update, same).then_nothing()
    given(AGGREGATE, CREATED).when(decide_update, Change()).then_nothing()


@pytest.mark.parametrize(("before", "after"), [(1, True), (True, 1), (0, False), (1, 1.0), ([0], [False])])
def test_values_that_python_takes_for_equal_are_a_change(before: object, after: object) -> None:
    created = msgspec.structs.replace(CREATED, definition=configured(before))
    given(AGGREGATE, created).when(decide_update, Change(definition=configured(after))).then(
        like(WorkflowUpdated, workflow_version=2)
    )


def test_another_order_of_keys_is_no_change() -> None:
    created = msgspec.structs.replace(CREATED, definition=configured({"a": 1, "b": 2}))
    given(AGGREGATE, created).when(decide_update, Change(definition=configured({"b": 2, "a": 1}))).then_nothing()


def test_an_archived_workflow_cannot_be_changed() -> None:
    given(AGGREGATE, *IN["archived"]).when(decide_update, Change(name="x")).refused(
        Code.RESOURCE_CONFLICT, contains="archived"
    )


# what follows from its state


@pytest.mark.parametrize("status", ["draft", "active"])
def test_draft_and_active_workflows_run(status: str) -> None:
    require_runnable(given(AGGREGATE, *IN[status]).state)


@pytest.mark.parametrize("status", ["inactive", "archived"])
def test_inactive_and_archived_ones_do_not(status: str) -> None:
    with pytest.raises(ResourceConflict, match=status):
        require_runnable(given(AGGREGATE, *IN[status]).state)


def test_its_name_is_held_in_its_organization_until_it_is_deleted() -> None:
    assert AGGREGATE.names(given(AGGREGATE).state) == ()
    for events in IN.values():
        assert AGGREGATE.names(given(AGGREGATE, *events).state) == (f"workflow:{ORGANIZATION}:report",)
    assert AGGREGATE.names(given(AGGREGATE, CREATED, DELETED).state) == ()


def test_its_row_is_the_whole_of_it() -> None:
    before, after = given(AGGREGATE).state, given(AGGREGATE, CREATED).state
    (row,) = AGGREGATE.rows(before, after)
    assert isinstance(row, WorkflowRow)
    assert (row.id, row.organization_id, row.version, row.created_by) == (SUBJECT, ORGANIZATION, 1, PERSON)
    assert (row.search, row.tags, row.category) == ("report\nevery night", '["nightly"]', "finance")
    document = msgspec.json.decode(row.document)
    assert document["component_count"] == 2
    assert document["created_at"] == document["updated_at"] == START
    assert document["definition"]["components"][0]["id"] == "start"


def test_a_row_of_a_deleted_one_says_so() -> None:
    (row,) = AGGREGATE.rows(given(AGGREGATE).state, given(AGGREGATE, CREATED, DELETED).state)
    assert isinstance(row, WorkflowRow)
    assert (row.status, row.version) == ("deleted", 2)


def test_a_workflow_folds_no_other_events() -> None:
    with pytest.raises(TypeError, match=r"apikey\.revoked"):
        given(AGGREGATE, ApiKeyRevoked(name="x"))
