"""What docs/clients.md shows does what it says."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from hub.client import WorkflowClient
from tests.integration.hubs import ROOT, SMALLEST, Client, unique

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = (ROOT / "docs" / "clients.md").read_text()
WORK = {
    "components": [
        {"id": "start", "type": "start"},
        {
            "id": "render",
            "type": "external_task",
            "retry": {"max_attempts": 2, "initial_delay_seconds": 0.01},
            "config": {"task_type": "render", "input": {"page": "home"}},
        },
    ],
    "connections": [{"source": "start", "target": "render"}],
}


@pytest_asyncio.fixture(loop_scope="session")
async def client(admin: Client) -> AsyncIterator[WorkflowClient]:
    async with WorkflowClient(admin.url, admin.key) as client:
        yield client


@pytest.fixture
def page(admin: Client) -> dict[str, Any]:
    """What the page's blocks define, with this hub's address and key in the place of the page's."""
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        text = block.replace("http://127.0.0.1:8000", admin.url).replace("sk_live_…", str(admin.key))
        exec(compile(text, "clients.md", "exec", dont_inherit=True), names)
    return names


async def test_a_first_run_and_what_lists_show(
    page: dict[str, Any], client: WorkflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await page["first_run"]() == {"greet": {"text": "Hello Ada"}}
    assert capsys.readouterr().out.endswith("Execution ended with status: completed\n")
    assert await page["failures"](client) == []
    last = [event.position async for event in client.events.list(types="execution.*")][-1]
    assert await page["every_event"](client) == last


async def test_what_is_followed(page: dict[str, Any], client: WorkflowClient) -> None:
    workflow = await client.workflows.create({"name": unique("w"), "definition": SMALLEST})
    assert await page["react"](client, workflow.id) == "queued"
    (execution,) = await client.workflows.executions(workflow.id)
    last = await page["follow"](client, execution.id)
    assert (await client.events.get(last)).type == "execution.completed"


async def test_the_worker_does_its_tasks_and_those_that_fail_again(
    page: dict[str, Any], client: WorkflowClient
) -> None:
    pages: list[Any] = []

    async def render(input: Any) -> Any:
        pages.append(input["page"])
        if len(pages) == 1:
            raise ValueError("no ink")
        return {"size": len(pages)}

    workflow = await client.workflows.create({"name": unique("w"), "definition": WORK})
    execution = await client.workflows.execute(workflow.id)
    working = asyncio.create_task(page["work"](client, render))
    try:
        async with asyncio.timeout(30):
            while not (ended := await client.executions.get(execution.id)).has_ended:
                await asyncio.sleep(0.01)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    assert (ended.status, ended.results, pages) == ("completed", {"render": {"size": 2}}, ["home", "home"])


async def test_every_method_is_on_the_page() -> None:
    client = WorkflowClient("http://127.0.0.1", "key")
    for name in ("workflows", "executions", "tasks", "webhooks", "events"):
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `client.{name}`"))
        offered = {each for each in dir(getattr(client, name)) if not each.startswith("_")}
        assert set(re.findall(r"`(\w+)`", row)) == offered, name
