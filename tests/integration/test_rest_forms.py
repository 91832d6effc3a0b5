"""Definitions in their other written forms, through the doors: kept as written, told about as written, run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from tests.integration.hubs import Client, Hub, unique

pytestmark = pytest.mark.asyncio(loop_scope="session")

BLOCKS: dict[str, Any] = {
    "blocks": [
        {"id": "nav", "type": "navigation", "parameters": {"url": "{{url}}"}},
        {
            "id": "read",
            "type": "extraction",
            "parameters": {"data_extraction_goal": "the price", "selectors": {"price": ".price"}},
        },
        {"id": "dear", "type": "condition", "parameters": {"condition_expression": "output.price == '9 €'"}},
        {"id": "note", "type": "code", "parameters": {"code": "steps.read.output.price + '!'"}},
    ],
    "parameter_schema": {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]},
}
STEPS: dict[str, Any] = {
    "start_step": "a",
    "steps": {"a": {"id": "a", "agent_name": "nobody", "next_step": None, "input_mapping": {}}},
}


@asynccontextmanager
async def serving(page: str) -> AsyncIterator[str]:
    """The URL of a page on loopback."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def answering(value: Any) -> AsyncIterator[str]:
    """The URL of an agent that answers the same to everything."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(value)

    app = web.Application()
    app.router.add_post("/{any:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_blocks_run_and_are_shown_as_they_were_sent(admin: Client) -> None:
    created = await admin.workflow(BLOCKS)
    assert created["definition"] == BLOCKS
    assert created["component_count"] == 5
    assert (await admin.get(f"/workflows/{created['id']}", include_definition="true")).data["definition"] == BLOCKS
    (version,) = (await admin.get(f"/workflows/{created['id']}/versions")).data
    assert (version["definition"], version["component_count"]) == (BLOCKS, 5)
    async with serving("<p class=price>9 €</p>") as url:
        run = await admin.ended(await admin.execution(created["id"], parameters={"url": url}))
    assert (run["status"], run["results"]) == ("completed", {"note": "9 €!"})
    async with serving("<p class=price>1 €</p>") as url:
        run = await admin.ended(await admin.execution(created["id"], parameters={"url": url}))
    assert (run["status"], run["progress"]["percentage"], run["results"]) == (
        "completed",
        100,
        {"dear": {"result": False}},
    )
    assert (await admin.post(f"/workflows/{created['id']}/execute", {})).fields == ["parameters.url"]


async def test_the_same_form_again_is_no_new_version_and_another_form_is_one(admin: Client) -> None:
    created = await admin.workflow(BLOCKS)
    path = f"/workflows/{created['id']}"
    assert (await admin.put(path, {"definition": BLOCKS})).data["version"] == 1
    assert (await admin.put(path, {"description": "as it was"})).data["definition"] == BLOCKS
    graph = {"components": [{"id": "start", "type": "start"}]}
    changed = (await admin.put(path, {"definition": graph})).data
    assert changed["version"] == 2
    assert changed["definition"]["components"][0]["id"] == "start"
    again = (await admin.put(path, {"definition": BLOCKS})).data
    assert (again["version"], again["definition"]) == (3, BLOCKS)


async def test_what_is_wrong_is_told_where_it_was_written(admin: Client) -> None:
    wrong = {"blocks": [{"id": "a", "type": "code", "parameters": {"code": "1 +"}}, {"id": "b", "type": "teleport"}]}
    fields = ["definition.blocks[0].parameters.code", "definition.blocks[1].type"]
    answer = await admin.post("/workflows", {"name": unique("wrong"), "definition": wrong})
    assert (answer.status, answer.fields, answer.codes) == (422, fields, {"WORKFLOW_INVALID"})
    both = await admin.post("/workflows", {"name": 7, "definition": wrong})
    assert both.fields == [*fields, "name"]
    workflow = await admin.workflow()
    assert (await admin.put(f"/workflows/{workflow['id']}", {"definition": wrong})).fields == fields
    report = (await admin.post(f"/workflows/{workflow['id']}/validate", {"definition": wrong})).data
    assert sorted(each["field"] for each in report["errors"]) == fields


async def test_a_stored_form_is_validated_as_it_was_written(admin: Client) -> None:
    created = await admin.workflow(BLOCKS)
    report = (await admin.post(f"/workflows/{created['id']}/validate")).data
    assert report["is_valid"]
    assert {(each["code"], each["field"]) for each in report["warnings"]} == {
        ("NO_TIMEOUT", "definition.blocks[0]"),
        ("NO_ERROR_HANDLING", "definition.blocks[0]"),
    }


async def test_steps_ask_agents_that_must_be_there_and_active(admin: Client, hub: Hub) -> None:
    answer = await admin.post("/workflows", {"name": unique("steps"), "definition": STEPS})
    assert (answer.status, answer.fields) == (422, ["definition.steps.a.agent_name"])
    async with answering({"rows": [1, 2]}) as url:
        agent = (await admin.post("/agents", {"name": "nobody", "url": url, "protocol": "http"})).data
        created = await admin.workflow(STEPS)
        assert created["definition"] == STEPS
        run = await admin.ended(await admin.execution(created["id"]))
    assert (run["status"], run["results"]) == ("completed", {"a": {"rows": [1, 2]}})
    path = f"/workflows/{created['id']}"
    assert (await admin.post(f"{path}/validate")).data["is_valid"]
    await admin.put(f"/agents/{agent['id']}", {"status": "inactive"})
    (error,) = (await admin.post(f"{path}/validate")).data["errors"]
    assert (error["field"], error["component_id"]) == ("definition.steps.a.agent_name", "a")
    assert (await admin.put(path, {"definition": STEPS, "description": "x"})).status == 422
    stranger = await hub.client()
    assert (await stranger.post("/workflows", {"name": unique("steps"), "definition": STEPS})).status == 422


async def test_versions_can_be_had_one_by_one_and_compared(admin: Client) -> None:
    created = await admin.workflow(BLOCKS)
    path = f"/workflows/{created['id']}"
    changed = BLOCKS | {"blocks": [*BLOCKS["blocks"][:3], {**BLOCKS["blocks"][3], "parameters": {"code": "'none'"}}]}
    await admin.put(path, {"definition": changed})
    await admin.put(path, {"definition": {"components": [{"id": "start", "type": "start"}]}})
    second = (await admin.get(f"{path}/versions/2")).data
    assert (second["version"], second["definition"], second["is_current"]) == (2, changed, False)
    assert (await admin.get(f"{path}/versions/3")).data["is_current"] is True
    compared = (await admin.get(f"{path}/versions/diff?from=1&to=2")).data
    code = "definition.blocks[3].parameters.code"
    before = "steps.read.output.price + '!'"
    assert compared == {
        "from": 1,
        "to": 2,
        "changes": [{"path": code, "op": "changed", "before": before, "after": "'none'"}],
    }
    graphs = (await admin.get(f"{path}/versions/diff?from=2")).data
    assert (graphs["from"], graphs["to"]) == (2, 3)
    assert {"definition.components[1]", "definition.components[4]"} <= {each["path"] for each in graphs["changes"]}
    assert all("blocks" not in each["path"] for each in graphs["changes"]), "two forms are compared as graphs"


@pytest.mark.parametrize("version", ["0", "2", "01x", "-1", "9" * 40, "x"])
async def test_a_version_that_there_is_not_is_a_404(admin: Client, version: str) -> None:
    created = await admin.workflow()
    answer = await admin.get(f"/workflows/{created['id']}/versions/{version}")
    assert (answer.status, answer.codes) == (404, {"RESOURCE_NOT_FOUND"})


@pytest.mark.parametrize(
    ("query", "fields"),
    [("", ["from"]), ("?from=2&to=9", ["from", "to"]), ("?from=0", ["from"]), ("?from=x&to=-1", ["from", "to"])],
)
async def test_versions_to_compare_must_be_there(admin: Client, query: str, fields: list[str]) -> None:
    created = await admin.workflow()
    answer = await admin.get(f"/workflows/{created['id']}/versions/diff{query}")
    assert (answer.status, answer.fields) == (422, fields)
