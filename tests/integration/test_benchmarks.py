"""What `benchmarks/steps.py` measures can be measured: each in this process, small, on a real store."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.integration.hubs import ROOT


@pytest.fixture
def measures(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What the command's child processes run; its neighbours are found as where it is started."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    return importlib.import_module("measures")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/runcast.db"


@pytest.mark.parametrize(("type", "gaps"), [("timed", 2 * 3), ("transform", 0)])
async def test_steps_and_what_lies_between_them(measures: ModuleType, url: str, type: str, gaps: int) -> None:
    found = await measures.runs(url, type, 2, 4)
    assert found["per_second"] > 0
    assert len(found["gaps"]) == gaps
    assert all(gap > 0 for gap in found["gaps"])


async def test_runs_that_wait(measures: ModuleType, url: str) -> None:
    found = await measures.memory(url, 5)
    assert found["took"] > 0
    assert min(found["empty"], found["half"], found["full"]) > 2**20


async def test_a_join(measures: ModuleType, url: str) -> None:
    found = await measures.join(url, 5)
    assert found["took"] > 0
    assert 0 <= found["longest"] < found["took"]


@pytest.mark.parametrize("shape", ["sequence", "loop"])
async def test_the_cost_of_a_step_by_the_history_before_it(measures: ModuleType, url: str, shape: str) -> None:
    found = await measures.history(url, shape, [2, 4, 6])
    assert len(found["costs"]) == len(found["cpu"]) == 4
    assert all(cost > 0 for cost in found["costs"] + found["cpu"])


@pytest.mark.parametrize("shape", ["sequence", "loop"])
async def test_a_run_that_was_left_in_the_middle_is_taken_over(measures: ModuleType, url: str, shape: str) -> None:
    async with measures.opened(url) as bench, bench.running():
        await bench.create(bench.compiled(measures.LONG[shape](200)))
        await bench.happening("component.completed", 2, 0)
    found = await measures.takeover(url)
    assert found["took"] > 0
