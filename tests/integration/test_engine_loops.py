"""Loops, with a real engine on a real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from executor.domain.execution.lifecycle import decide_pause, decide_resume
from executor.domain.execution.retry import Retry, decide_retry
from executor.domain.execution.rows import AGGREGATE, ComponentRow
from executor.engine import Engine
from executor.ports import Eq, Order, RowQuery
from tests.integration.engines import PATIENCE, Stage, link, staged, step, workflow


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as stage:
        yield stage


def loop(
    *steps: dict[str, Any], links: Any = (), id: str = "each", retry: Any = None, **config: Any
) -> dict[str, Any]:
    body = {"components": list(steps), "connections": list(links)} | config.pop("body", {})
    return step(id, "loop", config={"body": body} | config) | ({"retry": retry} if retry else {})


def says(id: str, expression: str) -> dict[str, Any]:
    return step(id, "transform", config={"expression": expression})


async def idle(engine: Engine) -> None:
    """Until the engine holds nothing."""
    async with asyncio.timeout(PATIENCE):
        while engine.owned:
            await asyncio.sleep(0)


async def rows(stage: Stage, id: str) -> list[ComponentRow]:
    order = (Order("sequence"), Order("component_id"), Order("iteration"))
    query = RowQuery(where=(Eq("execution_id", id),), order=order, limit=1000)
    return await stage.store.reads.find(ComponentRow, query)


async def began(stage: Stage, count: int) -> list[str]:
    """The iterations of the attempts at gates so far, from their idempotency keys."""
    return [attempt.idempotency_key.split("/")[2] for attempt in await stage.gate.beginning(count)]


async def test_the_results_are_in_the_order_of_the_items(stage: Stage) -> None:
    raw = workflow(loop(says("twice", "item * 2"), items="${workflow.input.numbers}", max_concurrency=3))
    id = await stage.create(raw, {"numbers": [5, 3, 8, 1, 9]})
    async with stage.running():
        run = await stage.ended(id)
    assert run.results == {"each": {"results": [{"twice": n} for n in (10, 6, 16, 2, 18)]}}
    found = await rows(stage, id)
    assert [(row.component_id, row.iteration) for row in found if row.component_id == "twice"] == [
        ("twice", str(index)) for index in range(5)
    ]
    assert {row.status for row in found} == {"completed"}
    assert run.progress.total_components == run.progress.completed_components == 2


@pytest.mark.parametrize("most", [1, 3, 50])
async def test_no_more_iterations_than_allowed_are_open_at_once(stage: Stage, most: int) -> None:
    raw = workflow(loop(step("work"), items=list(range(7)), max_concurrency=most))
    id = await stage.create(raw)
    async with stage.running():
        first = min(most, 7)
        assert await began(stage, first) == [str(index) for index in range(first)]
        state, _ = await stage.store.log.load(f"execution:{id}")
        assert len(state.running) == first
        await stage.gate.open("work")
        run = await stage.ended(id)
    assert run.results == {"each": {"results": [{"work": {"attempt": 1}}] * 7}}
    assert len({attempt.idempotency_key for attempt in stage.gate.began}) == 7


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${item.name}", "a"),
        ("{{item.name}}", "a"),
        ("${order.name}", "a"),
        ("${iteration.index}", 0),
        ("${iteration.item.name}", "a"),
        ("no ${iteration.index}: ${item.name}", "no 0: a"),
        ("${before.output.x}", 7),
        ("${workflow.input.y}", "in"),
    ],
)
async def test_what_is_inside_sees_its_item_and_all_around_it(stage: Stage, written: str, value: Any) -> None:
    named = {"as": "order"} if "order" in written else {}
    inner = step("see", "transform", config={"output": {"seen": written}})
    before = step("before", "transform", config={"output": {"x": 7}})
    each = loop(inner, items=[{"name": "a"}], **named)
    id = await stage.create(workflow(before, each, links=[link("before", "each")]), {"y": "in"})
    async with stage.running():
        run = await stage.ended(id)
    assert run.results == {"each": {"results": [{"see": {"seen": value}}]}}


async def test_loops_in_loops_have_paths_of_their_own(stage: Stage) -> None:
    inner = loop(
        says("add", "row + cell + iteration.index"), id="cells", items="${row_of.output.cells}", **{"as": "cell"}
    )
    inner["config"]["items"] = "${made.output}"
    made = says("made", "[10 * row, 20 * row]")
    outer = loop(
        made, inner, links=[link("made", "cells")], id="rows", items=[1, 2], max_concurrency=2, **{"as": "row"}
    )
    id = await stage.create(workflow(outer))
    async with stage.running():
        run = await stage.ended(id)
    assert run.results == {
        "rows": {
            "results": [
                {"cells": {"results": [{"add": 11}, {"add": 22}]}},
                {"cells": {"results": [{"add": 22}, {"add": 43}]}},
            ]
        }
    }
    paths = sorted(row.iteration for row in await rows(stage, id) if row.component_id == "add")
    assert paths == ["0.0", "0.1", "1.0", "1.1"]


async def test_a_body_may_have_a_start_an_end_and_ids_of_outside(stage: Stage) -> None:
    body = [step("start", "start"), says("n", "item"), step("end", "end", config={"output": {"n": "${n.output}"}})]
    links = [link("start", "n"), link("n", "end")]
    first = loop(*body, links=links, id="first", items=[1, 2])
    second = loop(*body, links=links, id="second", items=[3])
    id = await stage.create(workflow(first, second))
    async with stage.running():
        run = await stage.ended(id)
    assert run.results == {"first": {"results": [{"n": 1}, {"n": 2}]}, "second": {"results": [{"n": 3}]}}
    assert len(await rows(stage, id)) == 3 + 9


@pytest.mark.parametrize(
    ("condition", "results"),
    [
        ("iteration.index < 3", [0, 1, 2]),
        ("output == null || output.n < 2", [0, 1, 2]),
        ("output.n < 1", [0, 1]),
        ("false", []),
        ("input.on && iteration.index < 1", [0]),
    ],
)
async def test_a_loop_runs_while_its_condition_holds(stage: Stage, condition: str, results: list[int]) -> None:
    each = loop(says("n", "iteration.index"), **{"while": condition})
    id = await stage.create(workflow(each), {"on": True})
    async with stage.running():
        run = await stage.ended(id)
    assert run.results == {"each": {"results": [{"n": n} for n in results]}}


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ("true", "still holds after 4 iterations"),
        ("output.nothing > 1", "the condition of the loop failed"),
        ("input.nothing", "the condition of the loop failed"),
        ("'x'", "must be true or false"),
    ],
)
async def test_a_condition_that_never_ends_or_fails_fails_the_loop(stage: Stage, condition: str, why: str) -> None:
    each = loop(says("n", "iteration.index"), **{"while": condition, "max_iterations": 4})
    id = await stage.create(workflow(each))
    async with stage.running():
        run = await stage.ended(id)
    assert run.status == "failed"
    assert why in (run.error_message or "")


async def test_no_items_make_no_results(stage: Stage) -> None:
    id = await stage.create(workflow(loop(step("work"), items="${workflow.input.none}")), {"none": []})
    async with stage.running():
        run = await stage.ended(id)
    assert run.results == {"each": {"results": []}}


@pytest.mark.parametrize("items", [None, {"a": 1}, "abc", 7])
async def test_items_that_are_no_list_fail_the_loop(stage: Stage, items: Any) -> None:
    id = await stage.create(workflow(loop(step("work"), items="${workflow.input.items}")), {"items": items})
    async with stage.running():
        run = await stage.ended(id)
    assert run.status == "failed"
    assert "items" in (run.error_message or "")


async def test_a_failure_ends_the_loop_and_what_runs_in_it(stage: Stage) -> None:
    bad = says("bad", "1 / item")
    each = loop(step("work"), bad, items=[1, 0, 1], max_concurrency=3)
    after = step("after", "transform", config={"output": {"why": "handled"}})
    id = await stage.create(workflow(each, after, links=[link("each", "after", type="error")]))
    async with stage.running():
        run = await stage.ended(id)
        components = await stage.components(id)
    assert (run.status, run.results) == ("completed", {"after": {"why": "handled"}})
    assert components["each"].status == "failed"
    assert {row.status for row in await rows(stage, id) if row.component_id == "work"} == {"cancelled"}
    assert len(stage.gate.stopped) == len(stage.gate.began)


async def test_without_fail_fast_the_other_iterations_are_finished_first(stage: Stage) -> None:
    each = loop(says("inverse", "6 / item"), items=[0, 1, 0, 3], body={"fail_fast": False})
    id = await stage.create(workflow(each))
    async with stage.running():
        run = await stage.ended(id)
    assert run.status == "failed"
    statuses = [row.status for row in await rows(stage, id) if row.component_id == "inverse"]
    assert statuses == ["failed", "completed", "failed", "completed"]


async def test_a_failure_that_is_handled_inside_is_none(stage: Stage) -> None:
    bad, good = says("bad", "1 / item"), says("good", "0")
    each = loop(bad, good, links=[link("bad", "good", type="error")], items=[1, 0])
    id = await stage.create(workflow(each))
    async with stage.running():
        run = await stage.ended(id)
    assert run.results == {"each": {"results": [{"bad": 1}, {"good": 0}]}}


async def test_a_retried_loop_keeps_what_it_completed(stage: Stage) -> None:
    raw = workflow(
        loop(
            step("work"),
            says("bad", "1 / (item == 2 && !input.mended ? 0 : 1)"),
            items=[1, 2, 3],
            links=[link("work", "bad")],
        )
    )
    id = await stage.create(raw, {"mended": False})
    await stage.gate.open("work")
    async with stage.running():
        assert (await stage.ended(id)).status == "failed"
        first = list(stage.gate.began)
        asked = Retry("somebody", None, None, {}, 1, None, {})
        await stage.append(id, lambda state: decide_retry(state, asked))
        await stage.happening(id, "execution.failed", 2)
        again = stage.gate.began[len(first) :]
        assert [attempt.idempotency_key.split("/")[2:] for attempt in first] == [["0", "0"], ["1", "0"]]
        assert [attempt.idempotency_key.split("/")[2:] for attempt in again] == [["1", "1"]]
        asked = asked._replace(parameters={"mended": True})
        await stage.append(id, lambda state: decide_retry(state, asked))
        await stage.happening(id, "execution.completed")
    assert len(stage.gate.began) == 2 + 1 + 3


async def test_the_policy_of_a_loop_starts_it_again_where_it_failed(stage: Stage) -> None:
    retry = {"max_attempts": 2, "initial_delay_seconds": 0}
    raw = workflow(
        loop(step("work"), says("bad", "1 / (item - 1)"), items=[2, 1, 3], retry=retry, links=[link("work", "bad")])
    )
    id = await stage.create(raw)
    await stage.gate.open("work")
    async with stage.running():
        assert (await stage.ended(id)).status == "failed"
    assert [attempt.idempotency_key.split("/")[2] for attempt in stage.gate.began] == ["0", "1", "1"]


async def test_a_pause_in_the_middle_of_a_loop_changes_nothing(stage: Stage) -> None:
    id = await stage.create(workflow(loop(step("work"), items=[1, 2, 3], max_concurrency=2)))
    async with stage.running() as engine:
        await stage.gate.beginning(2)
        await stage.append(id, partial(decide_pause, by="x", reason=None, now=stage.clock.now()))
        await stage.gate.open("work")
        await stage.happening(id, "component.completed", 3)
        assert len(stage.gate.began) == 2
        await idle(engine)
    await stage.append(id, partial(decide_resume, by="x", reason=None, now=stage.clock.now()))
    async with stage.running("engine-2"):
        run = await stage.ended(id)
    assert len((run.results or {})["each"]["results"]) == 3


async def test_another_engine_goes_on_in_the_middle_of_a_loop(stage: Stage) -> None:
    id = await stage.create(workflow(loop(step("work"), items=[1, 2, 3], max_concurrency=2)))
    async with stage.running():
        await stage.gate.beginning(2)
    async with stage.running("engine-2"):
        await stage.gate.beginning(4)
        await stage.gate.open("work")
        run = await stage.ended(id)
    assert len((run.results or {})["each"]["results"]) == 3
    keys = [attempt.idempotency_key for attempt in stage.gate.began]
    assert (len(keys), len(set(keys))) == (5, 3)


async def test_a_loop_that_takes_too_long_is_stopped(stage: Stage) -> None:
    each = loop(step("nap", "wait", config={"seconds": 600}), items=[1, 2]) | {"timeout_seconds": 60}
    id = await stage.create(workflow(each))
    async with stage.running():
        await stage.happening(id, "timer.scheduled")
        stage.clock.put_forward(seconds=61)
        run = await stage.ended(id)
    assert "'each' did not end within 60 seconds" in (run.error_message or "")
    assert {row.status for row in await rows(stage, id) if row.component_id == "nap"} == {"cancelled"}


async def test_waiting_and_running_others_inside_of_a_loop(stage: Stage) -> None:
    await stage.define("double", workflow(step("end", "end", config={"output": {"twice": "${workflow.input.n}"}})))
    child = step("child", "sub_workflow", config={"workflow_name": "double", "parameters": {"n": "${item}"}})
    nap = step("nap", "wait", config={"seconds": 0})
    each = loop(nap, child, links=[link("nap", "child")], items=[1, 2, 3], max_concurrency=3)
    id = await stage.create(workflow(each))
    async with stage.running():
        run = await stage.ended(id)
    assert run.results == {"each": {"results": [{"child": {"twice": n}} for n in (1, 2, 3)]}}


async def test_cancelling_ends_everything_inside(stage: Stage) -> None:
    id = await stage.create(workflow(loop(step("work"), items=[1, 2, 3], max_concurrency=2)))
    async with stage.running():
        await stage.gate.beginning(2)
        await stage.cancel(id)
        assert (await stage.view(id)).status == "cancelled"
    assert {row.status for row in await rows(stage, id)} == {"completed", "cancelled"}
    assert len(stage.gate.stopped) == 2


async def test_the_rows_are_the_fold_of_the_log(stage: Stage) -> None:
    id = await stage.create(workflow(loop(says("n", "item"), items=[1, 2, 3], max_concurrency=2)))
    async with stage.running():
        await stage.ended(id)
    state, _ = await stage.store.log.load(f"execution:{id}")
    folded = {row.document for row in AGGREGATE.rows(AGGREGATE.initial(), state) if isinstance(row, ComponentRow)}
    assert folded == {row.document for row in await rows(stage, id)}
