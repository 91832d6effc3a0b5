"""A new type of event is a Struct, its fold, its row and its message; a test fails for each of the first three."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from executor.domain import events as catalogue_module
from executor.domain.definition import ComponentSpec, Connection, Definition
from executor.domain.events import CATALOGUE, Event, Fact, Stamp
from executor.domain.events import execution as execution_events
from executor.domain.events import loop as loop_events
from executor.domain.events.template import Complexity, Template, TemplateParameter
from executor.domain.events.workflow import WorkflowEvent
from executor.domain.execution.folds import _FOLDS, evolve
from executor.domain.execution.inputs import Looped
from executor.domain.execution.rows import AGGREGATE
from executor.domain.values import Instant, Progress
from executor.domain.workflow import AGGREGATE as WORKFLOWS
from tests.given import ORGANIZATION, START, SUBJECT
from tests.unit.executor.play import Play, flow, looping

for found in pkgutil.iter_modules(catalogue_module.__path__, catalogue_module.__name__ + "."):
    importlib.import_module(found.name)


def subclasses(cls: type[Event]) -> Iterator[type[Event]]:
    for each in cls.__subclasses__():
        yield each
        yield from subclasses(each)


ALL = sorted(
    {each for each in subclasses(Event) if each.__module__.startswith("executor.")}, key=lambda cls: cls.__name__
)
NAMED = [cls for cls in ALL if "type" in vars(cls)]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
st.register_type_strategy(
    Definition,
    st.builds(
        Definition,
        components=st.just((ComponentSpec(id="start", type="start", config={"x": [1, None]}),)),
        connections=st.just((Connection(source="start", target="a", condition="true"),)),
    ),
)
st.register_type_strategy(
    Template,
    st.builds(
        Template,
        name=st.just("t"),
        workflow_definition=st.dictionaries(st.text(max_size=5), JSON, max_size=3),
        parameters=st.just((TemplateParameter(name="a", options=("x", 1, 1.5, True), default_value=None),)),
        complexity_level=st.sampled_from(Complexity),
        description=st.none(),
        category=st.none(),
        tags=st.just(("x",)),
        author=st.none(),
        version=st.just("1.0.0"),
        estimated_setup_time_minutes=st.none() | st.integers(0, 9),
    ),
)


def strategy(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type, as the log may hold them."""
    info = msgspec.inspect
    match kind:
        case info.AnyType():
            return JSON
        case info.StrType():
            return st.text(max_size=10)
        case info.IntType():
            return st.integers(0, 2**31)
        case info.FloatType():
            return st.floats(0, 1e9)
        case info.BoolType():
            return st.booleans()
        case info.NoneType():
            return st.none()
        case info.VarTupleType():
            return st.lists(strategy(kind.item_type), max_size=3).map(tuple)
        case info.DictType():
            return st.dictionaries(st.text(max_size=5), strategy(kind.value_type), max_size=3)
        case info.UnionType():
            return st.one_of([strategy(each) for each in kind.types])
        case info.StructType() if kind.cls in (Definition, Template):
            return st.from_type(kind.cls)
        case info.StructType():
            return instances(kind.cls)
        case info.CustomType():
            return JSON
    raise AssertionError(f"how does one make {kind}?")


def instances(cls: type[Any]) -> st.SearchStrategy[Any]:
    kinds = msgspec.inspect.type_info(cls)
    assert isinstance(kinds, msgspec.inspect.StructType)
    if cls.__name__ in ("RetryPolicy", "RetryConfig"):
        return st.just(cls())
    return st.builds(cls, **{field.name: strategy(field.type) for field in kinds.fields})


def test_every_event_with_a_name_is_in_the_catalogue_once() -> None:
    assert sorted(CATALOGUE) == sorted(cls.type for cls in NAMED)
    assert set(CATALOGUE.values()) == set(NAMED)
    assert all(CATALOGUE[cls.type] is cls for cls in NAMED)


def test_the_only_events_without_a_name_are_those_that_others_share_their_fields_with() -> None:
    nameless = {cls.__name__ for cls in ALL if "type" not in vars(cls)}
    assert nameless == {
        *("ExecutionFacts", "ComponentFacts", "WorkflowEvent", "AgentFacts"),
        *("ScheduleEvent", "ScheduleFacts", "TaskFacts", "LoopEvent"),
    }


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_name_is_two_words_with_a_dot_and_no_path_of_a_class(name: str) -> None:
    assert re.fullmatch(r"[a-z_]+\.[a-z_]+", name)
    assert name not in repr(vars(importlib.import_module(CATALOGUE[name].__module__)).keys())


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_events_are_frozen_and_all_fields_are_named(cls: type[Event]) -> None:
    assert cls.__struct_config__.frozen
    if cls.__struct_fields__:
        with pytest.raises(TypeError, match="positional"):
            cls(*("x" for _ in cls.__struct_fields__))


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_the_data_of_an_event_has_no_field_named_type(cls: type[Event]) -> None:
    """The name of an event stands beside its data in the log, not in it, and is no class's."""
    assert "type" not in cls.__struct_fields__
    assert cls.__struct_config__.tag is None


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_event_comes_back_from_json_as_it_was(name: str) -> None:
    cls = CATALOGUE[name]

    @given(instances(cls))
    @settings(max_examples=15, deadline=None)
    def comes_back(event: Event) -> None:
        data = msgspec.json.encode(event)
        again = msgspec.json.decode(data, type=cls)
        assert again == event
        assert msgspec.json.encode(again) == data

    comes_back()


# the folds


def test_every_event_of_an_executions_stream_has_a_fold_and_nothing_else_has() -> None:
    own = {cls for cls in NAMED if cls.__module__ in (execution_events.__name__, loop_events.__name__)}
    assert set(_FOLDS) == own


def example(cls: type[Event]) -> Event:
    """An event about the component `a` of a run that waits for it."""
    facts = {
        "workflow_name": "report",
        "status": "running",
        "priority": 5,
        "progress": Progress("a", 1, 3, 33),
        "execution_status": "running",
        "component_id": "a",
        "component_type": "log",
        "workflow_id": "W",
        "workflow_version": 1,
        "workflow_status": "active",
        "definition": flow("start > a > b"),
        "parameters": {},
        "created_by": "P",
        "engine": "engine-2",
        "epoch": 2,
        "results": {},
        "error": {"code": "X", "message": "it broke"},
        "retry_count": 1,
        "retry_at": START,
        "fires_at": START,
        "paused_by": "P",
        "resumed_by": "P",
        "terminated_by": "P",
        "changed_by": "P",
        "retried_by": "P",
        "former_priority": 4,
        "key": "approved",
        "kept": (),
        "taken": {} if cls is execution_events.ExecutionRetried else (),
        "cancelled_by": "P",
        "level": "info",
        "message": "hello",
        "count": 2,
        "max_concurrency": 1,
        "index": 0,
    }
    return msgspec.convert({name: facts[name] for name in cls.__struct_fields__ if name in facts}, cls)


@pytest.mark.parametrize("cls", _FOLDS, ids=lambda cls: cls.__name__)
def test_each_fold_moves_the_version_and_gives_rows(cls: type[Event]) -> None:
    play = Play(looping("a") if issubclass(cls, loop_events.LoopEvent) else flow("start > a > b"))
    play.claim().complete("start")
    if cls in (loop_events.IterationCompleted, loop_events.IterationFailed):
        play.take(Looped("a", 1, 2, 1))
    before = AGGREGATE.initial() if cls is execution_events.ExecutionCreated else play.state
    stamp = Stamp(Instant("2026-01-31T12:00:09.000Z"), ORGANIZATION, SUBJECT, before.version + 1)
    after = evolve(before, [Fact(example(cls), stamp)])
    assert (after.version, after.updated_at) == (before.version + 1, stamp.time)
    assert after != before
    rows = AGGREGATE.rows(before, after)
    assert {row.version for row in rows} == {after.version}  # type: ignore[attr-defined]
    assert all(structs.asdict(row) for row in rows)


@pytest.mark.parametrize(
    "cls", [cls for cls in NAMED if issubclass(cls, WorkflowEvent)], ids=lambda cls: cls.__name__
)
def test_every_event_of_a_workflows_stream_folds_to_its_status(cls: type[Event]) -> None:
    fields = {
        "description": None,
        "definition": flow("start"),
        "category": None,
        "tags": (),
        "priority": 5,
        "changed": (),
    }
    given_fields = {name: value for name, value in fields.items() if name in cls.__struct_fields__}
    event = cls(name="report", status="active", workflow_version=1, **given_fields)
    state = WORKFLOWS.evolve(WORKFLOWS.initial(), [Fact(event, Stamp(START, ORGANIZATION, SUBJECT, 1))])
    assert (state.name, state.status, state.stream_version) == ("report", "active", 1)
