"""What tests of export, import, move and backup stand on: a hub with a past, and its tables to compare."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from storage.copying import CARRIED
from tests.integration.hubs import SMALLEST, WAITING, Client, Hub, unique, until

FAILING: dict[str, Any] = {
    "components": [
        {"id": "start", "type": "start"},
        {"id": "sum", "type": "transform", "config": {"expression": "input.text + input.none"}},
        {"id": "end", "type": "end"},
    ],
    "connections": [{"source": "start", "target": "sum"}, {"source": "sum", "target": "end"}],
}
SECRETIVE: dict[str, Any] = {
    "components": [
        {"id": "start", "type": "start"},
        {"id": "shape", "type": "transform", "config": {"output": {"text": "${workflow.input.text}"}}},
        {"id": "end", "type": "end", "config": {"output": {"text": "${shape.output.text}"}}},
    ],
    "connections": [{"source": "start", "target": "shape"}, {"source": "shape", "target": "end"}],
    "parameters": [{"name": "token", "type": "string", "secret": True}, {"name": "text", "type": "string"}],
}
ASKING: dict[str, Any] = {
    "components": [{"id": "start", "type": "start"}, {"id": "ask", "type": "human_task", "config": {"data": [1]}}],
    "connections": [{"source": "start", "target": "ask"}],
}
TOKEN = "s3cret-of-a-parameter"
TEXT = 'a\x00b "quoted" \u2028 \ud7ff 😀 \\'
FOLDED = (
    "names",
    "workflows",
    "executions",
    "components",
    "tasks",
    "webhooks",
    "agents",
    "api_keys",
    "templates",
    "schedules",
)
"""The tables that follow from the log."""
ALL = tuple(table.name for table in CARRIED)


async def live(hub: Hub) -> None:
    """A past with everything in it: two organizations, runs that ended in every way and some that wait, tasks, texts
    that are hard to keep, sealed secrets, endpoints, a name that was given up and taken again."""
    for _ in range(2):
        client = await hub.client()
        shaped = await client.workflow(SECRETIVE, name="report", tags=["a", "b"])
        for _ in range(3):
            await client.ended(await client.execution(shaped["id"], parameters={"token": TOKEN, "text": TEXT}))
        nightly = {"name": "nightly", "workflow_id": shaped["id"], "cron": "@daily", "paused": True}
        nightly |= {"parameters": {"token": TOKEN}}
        scheduled = (await client.post("/schedules", nightly)).data["id"]
        await client.ended((await client.post(f"/schedules/{scheduled}/trigger")).data["id"])
        failing = await client.workflow(FAILING)
        await client.ended(await client.execution(failing["id"], parameters={"text": TEXT}))
        waiting = await client.workflow(WAITING)
        await client.execution(waiting["id"])
        stopped = await client.execution(waiting["id"])
        await client.post(f"/executions/{stopped}/cancel", {"reason": TEXT})
        asking = await client.workflow(ASKING)
        asked = [await client.execution(asking["id"]) for _ in range(2)]
        done = await task_of(client, asked[0])
        assert (await client.post(f"/tasks/{done}/complete", {"output": TEXT, "notes": TEXT})).status == 200
        await client.ended(asked[0])
        await task_of(client, asked[1])
        await client.webhook("http://127.0.0.1:2/", "workflow.*", secret="s3cret-of-an-endpoint")
        gone = await client.webhook("http://127.0.0.1:2/", "workflow.*")
        await client.delete(f"/webhooks/{gone['id']}")
        agent = {"name": "reader", "url": "http://127.0.0.1:2/", "auth_type": "bearer", "auth_config": {"token": "t"}}
        assert (await client.post("/agents", agent)).status == 201
        template = {"name": "report", "workflow_definition": SMALLEST}
        made = (await client.post("/templates", template)).data["id"]
        await client.post(f"/templates/{made}/rate", {"rating": 4})
        assert (await client.post(f"/templates/{made}/create-workflow", {"name": unique("made")})).status == 201
        assert (await client.delete(f"/workflows/{shaped['id']}")).status == 200
        assert (await client.workflow(name="report"))["id"] != shaped["id"]
        await client.put(f"/workflows/{failing['id']}", {"name": unique("renamed"), "description": TEXT})


async def task_of(client: Client, execution_id: str) -> str:
    """The id of the task that an execution waits for."""

    async def look() -> Any:
        return (await client.get("/tasks", execution_id=execution_id)).data

    return str((await until(look))[0]["id"])


def table(data_dir: Path, name: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"file:{data_dir / 'runcast.db'}?mode=ro", uri=True)
    try:
        rows = connection.execute(f"SELECT * FROM {name}").fetchall()
        return sorted(rows, key=lambda row: [(value is not None, value) for value in row])
    finally:
        connection.close()


def meta(data_dir: Path) -> dict[str, str]:
    return dict(table(data_dir, "meta"))


def count(data_dir: Path, name: str) -> int:
    """Also of a file that is just being made."""
    try:
        return len(table(data_dir, name))
    except sqlite3.OperationalError:
        return 0
