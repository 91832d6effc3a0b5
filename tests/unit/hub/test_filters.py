from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.expressions import ExpressionError
from hub.filters import Seen, require_condition
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


@pytest.mark.parametrize("text", ["", "data.", "1 + 1", "nobody.knows == 1", "'a'"])
def test_what_cannot_be_a_condition_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        require_condition(text)
