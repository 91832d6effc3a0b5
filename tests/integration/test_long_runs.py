"""Of a run that is too long to be folded in one go, whatever is folded again is what the appends have written: also
the components of iterations that ended long before."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import astuple

from executor.domain import workflow
from executor.domain.execution.rows import AGGREGATE, ComponentRow, ExecutionRow
from executor.domain.task import rows as task_rows
from executor.ports import Eq, Order, Organization, Repair, RowQuery, Store
from hub.travel import Moment, execution_at
from storage.differences import Compared, decode_repairs
from storage.open import open_store
from storage.projections import Span
from storage.rebuild import compare
from tests.integration.engines import Stage, staged, step
from tests.integration.engines import workflow as flow

pytestmark = pytest.mark.asyncio(loop_scope="module")

AGGREGATES = (AGGREGATE, workflow.AGGREGATE, task_rows.AGGREGATE)
TABLES = frozenset({"executions", "components"})
ITEMS = 130


class Long:
    """A run with some 1,500 events: more than a rebuild folds at once, and more than a page of a copy."""

    def __init__(self, stage: Stage, id: str, url: str) -> None:
        self.stage, self.id, self.url = stage, id, url

    async def compared(self) -> Compared:
        return await compare(self.url, Span(), TABLES, AGGREGATES)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def long(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Long]:
    directory = tmp_path_factory.mktemp("long")
    say = step("say", "transform", config={"output": {"n": "${item}"}})
    odd = step("odd", "transform", config={"output": {"n": "${item}"}})
    then = {"source": "say", "target": "odd", "type": "conditional", "condition": "item % 2 == 1"}
    body = {"components": [say, odd], "connections": [then]}
    inner = step("twice", "loop", config={"items": [1, 2], "body": body, "max_concurrency": 2})
    config = {"items": list(range(ITEMS)), "body": {"components": [inner]}, "max_concurrency": 3}
    async with staged(directory) as stage:
        id = await stage.create(flow(step("each", "loop", config=config)))
        async with stage.running():
            assert (await stage.ended(id)).status == "completed"
        assert len(await stage.recorded(id)) > 1000
        yield Long(stage, id, f"sqlite:///{directory}/runcast.db")


async def components(store: Store, id: str) -> set[tuple[Any, ...]]:
    query = RowQuery(where=(Eq("execution_id", id),), order=(Order("sequence"),), limit=1000)
    found = await store.reads.find(ComponentRow, query)
    assert len(found) == 2 + ITEMS * (1 + 2 * 2)
    return {astuple(row) for row in found}


async def test_a_rebuild_finds_every_component_and_nothing_to_repair(long: Long) -> None:
    found = await long.compared()
    assert (found.counts, found.failures) == ({}, ())


async def test_a_rebuild_puts_back_what_was_lost_of_iterations_that_ended(long: Long) -> None:
    store, before = long.stage.store, await components(long.stage.store, long.id)
    lost = [row for row in before if row[1:3] in (("odd", "0.0"), ("say", "60.1"), ("twice", "129"))]
    await spoiled(long, lost)
    found = await long.compared()
    assert found.counts == {"components": 3}
    for batch in found.repairs:
        assert await store.projections.repair(decode_repairs(batch)) == []
    assert await components(store, long.id) == before


async def spoiled(long: Long, rows: Sequence[tuple[Any, ...]]) -> None:
    execution = await long.stage.store.reads.get(ExecutionRow, long.id)
    assert execution is not None
    repairs = [Repair(f"execution:{long.id}", execution.version, "components", row[:3], None) for row in rows]
    assert await long.stage.store.projections.repair(repairs) == []


@pytest.mark.parametrize("page", [7, 1000])
async def test_what_is_brought_to_another_store_has_the_same_rows(long: Long, tmp_path: Path, page: int) -> None:
    events = []
    while more := await long.stage.store.log.scan(len(events)):
        events += more
    store = await open_store(f"sqlite:///{tmp_path}/other.db", AGGREGATES, clock=long.stage.clock)
    try:
        acme = Organization(id=long.stage.organization, name="acme", sealed_key="x", created_at=events[0].time)
        await store.copying.bring((), organizations=(acme,))
        for start in range(0, len(events), page):
            await store.copying.bring(events[start : start + page])
        assert await components(store, long.id) == await components(long.stage.store, long.id)
    finally:
        await store.close()


async def test_back_in_time_all_components_are_there_too(long: Long) -> None:
    store = long.stage.store
    last = (await long.stage.recorded(long.id))[-1]
    _, found = await execution_at(store, long.id, long.stage.organization, Moment(last.position, last.time))
    assert {astuple(row) for row in found} == await components(store, long.id)
    middle = next(
        event
        for event in await long.stage.recorded(long.id)
        if event.type == "iteration.completed" and b'"index":100' in event.data
    )
    _, found = await execution_at(store, long.id, long.stage.organization, Moment(middle.position, middle.time))
    at = {(row.component_id, row.iteration): row.status for row in found}
    assert {at["say", f"{n}.{m}"] for n in range(98) for m in range(2)} == {"completed"}
    assert ("say", "129.0") not in at
