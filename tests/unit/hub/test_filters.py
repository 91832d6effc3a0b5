from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from executor.expressions import ExpressionError, evaluate
from hub.filters import VARIABLES, Seen, require_condition
from hub.messages import event_json
from tests.unit.hub.socket.casting import World, completed, opened, started


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with opened(tmp_path) as world:
        yield world


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("event.type == 'component.completed'", True),
        ("event.type == 'component.started'", False),
        ("data.output_data.rows > 2", True),
        ("data.output_data.rows > 3", False),
        ("event.position == 1 && event.type != data.status", True),
        ("data.nothing_of_the_kind == 1", False),
        ("data.output_data.rows", False),
    ],
)
async def test_a_condition_sees_the_event(world: World, condition: str, holds: bool) -> None:
    require_condition(condition)
    (recorded,) = await world.author.write(completed({"rows": 3}))
    assert Seen(recorded).satisfies(condition) is holds


async def test_an_event_answers_each_of_several_conditions(world: World) -> None:
    (recorded,) = await world.author.write(started())
    seen = Seen(recorded)
    assert [seen.satisfies(text) for text in ("event.type.endsWith('started')", "false", "data.epoch == 1")] == [
        True,
        False,
        True,
    ]


async def test_a_long_field_of_the_data_is_not_there_and_the_others_are(world: World) -> None:
    for output in ("x" * 4096, list(range(257))):
        (recorded,) = await world.author.write(completed({"output": output}))
        seen = Seen(recorded)
        assert seen.satisfies("data.component_id == 'a' && event.data.component_id == 'a'")
        assert seen.satisfies("!has(data.output_data) && !has(event.data.output_data)")
    (recorded,) = await world.author.write(completed("x" * 4000))
    assert Seen(recorded).satisfies("size(data.output_data) == 4000")


async def test_of_an_archived_event_conditions_see_that_it_is_one(world: World) -> None:
    (recorded,) = await world.author.write(started())
    blank = msgspec.structs.replace(recorded, data=b"")
    assert Seen(blank).satisfies("event.archived && data == null")
    assert Seen(recorded).satisfies("!has(event.archived)")


async def test_no_condition_shows_what_is_sealed(world: World) -> None:
    (recorded,) = await world.author.write(completed("sealed:v1:QUJD"))
    assert Seen(recorded).satisfies("data.output_data == '[REDACTED]' && event.data.output_data == '[REDACTED]'")


NESTED = "data.output_data.l.all(x, data.output_data.l.all(y, y != x + 1000))"
HOSTILE = [
    NESTED,
    "data.output_data.l.all(x, data.output_data.l == data.output_data.l)",
    " && ".join(["!data.output_data.t.contains('b')"] * 13),
    " && ".join(["event == event"] * 28),
    "data.output_data.l.all(x, r'\\\\' == '\\\\\\\\' && data.output_data.l == data.output_data.l)",
    "data.output_data.l.all(x, ')' != '' && // ' )\n data.output_data.l == data.output_data.l // ' \n)",
    f"data.output_data.l.all(x, {' && '.join(['int(string(x)) >= 0'] * 20)})",
]


@pytest.mark.parametrize("condition", HOSTILE, ids=range(len(HOSTILE)))
async def test_what_would_cost_too_much_over_an_event_does_not_hold(world: World, condition: str) -> None:
    require_condition(condition)
    (recorded,) = await world.author.write(completed({"l": list(range(200)), "t": "a" * 3000}))
    event = msgspec.json.decode(event_json(recorded))
    if condition is not NESTED:  # CEL's own budget ends it.
        assert evaluate(condition, {"event": event, "data": event["data"]}, VARIABLES) is True
    assert not Seen(recorded).satisfies(condition)


@pytest.mark.parametrize(
    "condition",
    [
        "'urgent' in data.output_data.tags",
        "data.output_data.tags.exists(tag, tag == 'urgent')",
        "event.type == 'component.completed' && data.output_data.tags.exists(tag, tag.startsWith('urg'))",
        "data.output_data.tags.all(tag, size(tag) < 100) && data.status == 'running'",
        "data.output_data.tags.exists(tag, tag == '(data.x) // )') || data.output_data.tags.all(tag, tag != 'a')",
    ],
)
async def test_what_is_usual_is_affordable(world: World, condition: str) -> None:
    require_condition(condition)
    (recorded,) = await world.author.write(completed({"tags": ["urgent", *(f"tag-{n}" for n in range(9))]}))
    assert Seen(recorded).satisfies(condition)


@pytest.mark.parametrize("name", ["matches", "map", "filter"])
def test_what_nobody_can_bound_is_refused_by_name(name: str) -> None:
    with pytest.raises(ExpressionError, match=f"'{name}' costs too much"):
        require_condition(f"data.x . {name} (y, true)")


def test_a_condition_has_at_most_512_characters() -> None:
    require_condition("true".ljust(512))
    with pytest.raises(ExpressionError, match="longer than 512 characters"):
        require_condition("true".ljust(513))


@pytest.mark.parametrize("text", ["", "data.", "1 + 1", "nobody.knows == 1", "'a'"])
def test_what_cannot_be_a_condition_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        require_condition(text)
