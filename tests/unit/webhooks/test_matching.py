from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from executor.domain.events import CATALOGUE
from executor.domain.events.webhook import EndpointFilters, WebhookCreated
from executor.domain.events.workflow import WorkflowArchived
from tests.unit.webhooks.given import CREATED, after, endpoint
from webhooks.endpoint import initial
from webhooks.matching import Audience, Matcher, matches, types_of


@pytest.mark.parametrize(
    ("pattern", "type", "answer"),
    [
        ("*", "execution.failed", True),
        ("execution.failed", "execution.failed", True),
        ("execution.*", "execution.failed", True),
        ("*.failed", "component.failed", True),
        ("*.*", "component.failed", True),
        ("execution.*", "component.failed", False),
        ("*.failed", "execution.completed", False),
        ("execution", "execution.failed", False),
        ("execution.fail*", "execution.failed", False),
        ("execution.failed.*", "execution.failed", False),
        ("", "execution.failed", False),
        ("exec*", "execution.failed", False),
    ],
)
def test_a_pattern_matches_whole_words(pattern: str, type: str, answer: bool) -> None:
    assert matches(pattern, type) is answer


def test_patterns_name_the_types_that_they_match() -> None:
    assert types_of(["*"]) == set(CATALOGUE)
    assert types_of(["*.failed"]) == {"execution.failed", "component.failed", "iteration.failed", "task.failed"}
    assert types_of(["nothing.*", "execution.Failed"]) == set()


def matcher(**filters: object) -> Matcher:
    return Matcher(after(WebhookCreated(endpoint=endpoint(events=("*",), filters=EndpointFilters(**filters)))))  # type: ignore[arg-type]


def test_without_filters_everything_of_its_types_is_wanted() -> None:
    wishes = Matcher(after(CREATED))
    assert wishes.wants_type("execution.failed", None)
    assert not wishes.wants_type("workflow.created", None)
    assert wishes.wants_event(ARCHIVED)
    assert wishes.wants_project(None)
    assert wishes.wants_body("execution.failed", {})


ARCHIVED = WorkflowArchived(name="a", status="archived", workflow_version=1)


def test_a_filter_is_not_met_by_an_event_that_lacks_what_it_asks_for() -> None:
    wishes = matcher(workflow_ids=("w",), project_ids=("p",), priority_levels=(5,))
    assert wishes.wants_type("execution.failed", "w")
    assert not wishes.wants_type("execution.failed", "other")
    assert not wishes.wants_type("apikey.created", None)
    assert wishes.wants_project("p")
    assert not wishes.wants_project(None)
    assert not wishes.wants_event(ARCHIVED)


@pytest.mark.parametrize(
    ("condition", "answer"),
    [
        ("data.execution.progress.percentage >= 50", True),
        ("event == 'execution.completed'", True),
        ("data.execution.progress.percentage > 50", False),
        ("data.workflow.name == 'x'", False),
        ("data.execution.progress.percentage", False),
    ],
)
def test_a_condition_sees_the_body_and_one_that_errs_is_not_met(condition: str, answer: bool) -> None:
    data = {"execution": {"progress": {"percentage": 50}}}
    assert matcher(condition=condition).wants_body("execution.completed", data) is answer


def test_what_was_never_created_wants_nothing() -> None:
    with pytest.raises(ValueError, match="never created"):
        Matcher(initial())


def named(id: str, **fields: Any) -> Matcher:
    state = after(WebhookCreated(endpoint=endpoint(**fields)))
    return Matcher(structs.replace(state, id=id))


def ids(found: list[Matcher]) -> list[str]:
    return sorted(each.webhook_id for each in found)


def test_an_audience_is_found_by_type_and_by_workflow() -> None:
    audience = Audience()
    audience.set(named("all", events=("*",)))
    audience.set(named("failed", events=("*.failed",)))
    audience.set(named("of w", events=("*",), filters=EndpointFilters(workflow_ids=("w", "v"))))
    audience.set(named("called", events=("execution.completed",), is_callback=True))
    assert ids(audience.of("execution.failed", "w")) == ["all", "failed", "of w"]
    assert ids(audience.of("execution.completed", "v")) == ["all", "of w"]
    assert ids(audience.of("apikey.created", None)) == ["all"]
    assert list(audience.callbacks) == ["called"]


def test_an_audience_follows_changes_of_an_endpoint() -> None:
    audience = Audience()
    audience.set(named("a", events=("*",)))
    audience.set(named("a", events=("execution.failed",), filters=EndpointFilters(workflow_ids=("w",))))
    assert ids(audience.of("execution.failed", "w")) == ["a"]
    assert audience.of("execution.failed", "v") == []
    assert audience.of("execution.failed", None) == []
    audience.drop("a")
    audience.drop("a")
    assert audience.of("execution.failed", "w") == []
