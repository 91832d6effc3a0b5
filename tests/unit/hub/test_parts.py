from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from executor.domain.errors import Unavailable
from hub import parts
from hub.parts import Parts
from tests.unit.hub.socket.casting import until


class Part:
    """Raises what it is given, one run after another, then runs until it is told to end, which takes a moment."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.runs = 0
        self.ended_well = False

    async def run(self) -> None:
        self.runs += 1
        if self.errors:
            raise self.errors.pop(0)
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            self.ended_well = True


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_RESTART_SECONDS", 0)


async def test_a_part_that_breaks_is_started_again_and_the_others_do_not_notice() -> None:
    broken, other = Part(KeyError("x"), KeyError("y")), Part()
    with capture_logs() as logs:
        async with Parts({"broken": broken.run, "other": other.run}):
            await until(lambda: broken.runs == 3)
    assert other.runs == 1
    assert broken.ended_well
    assert other.ended_well
    assert [(entry["event"], entry["part"]) for entry in logs] == [("part.broke", "broken")] * 2


async def test_that_the_store_is_away_is_said_once() -> None:
    away = ExceptionGroup("all of it", [Unavailable("a"), ExceptionGroup("inner", [Unavailable("b")])])
    part = Part(Unavailable("away"), away, Unavailable("away"), ExceptionGroup("some", [Unavailable("a"), OSError()]))
    with capture_logs() as logs:
        async with Parts({"part": part.run}):
            await until(lambda: part.runs == 5)
    assert [entry["event"] for entry in logs] == ["part.waits", "part.broke"]


async def test_a_part_that_is_told_twice_to_end_still_ends_well() -> None:
    one, other = Part(), Part()
    async with Parts({"one": one.run, "other": other.run}) as running:
        await until(lambda: one.runs == other.runs == 1)
        running.end(["one", "nobody"])
        await asyncio.sleep(0)
        running.end(["one"])
        await until(lambda: one.ended_well)
        assert not other.ended_well
    assert other.ended_well
