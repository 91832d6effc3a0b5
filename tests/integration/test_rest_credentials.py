"""Credentials in definitions: sealed in the log, in clear to whom they are for, and shown to nobody."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from aiohttp import web

from tests.integration.hubs import Client, Hub, unique
from tests.integration.receiving import Arrived, receiving

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY, TOKEN, OTHER = "k3y-in-the-definition", "t0ken-in-the-definition", "0ther-in-the-definition"
SECRETS = (KEY, TOKEN, OTHER)


async def echo(arrived: Arrived) -> web.Response:
    said = {name: value for name, value in arrived.headers.items() if name != "Host"}
    said["bare"] = arrived.headers.get("Authorization", "").rpartition(" ")[2]
    return web.Response(body=msgspec.json.encode(said), content_type="application/json")


def graph(url: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Tenant": "seen"}
    each = {"id": "each", "type": "http_request", "config": {"url": url, "headers": {"X-API-Key": KEY}}}
    return {
        "components": [
            {"id": "start", "type": "start"},
            {"id": "call", "type": "http_request", "config": {"url": url, "headers": headers}},
            {"id": "all", "type": "loop", "config": {"items": [1, 2], "body": {"components": [each]}}},
        ],
        "connections": [{"source": "start", "target": "call"}, {"source": "call", "target": "all"}],
    }


def blocks(url: str) -> dict[str, Any]:
    page = {"id": "page", "type": "navigation", "parameters": {"url": url, "headers": {"cookie": TOKEN}}}
    return {"blocks": [page]}


async def all_that_is_shown(admin: Client, workflow: str, execution: str | None = None) -> bytes:
    paths = [f"/workflows/{workflow}{of}" for of in ("", "/versions", "/versions/1", "/versions/diff?from=1")]
    paths += ["/events?limit=1000", "/workflows", "/templates"]
    if execution is not None:
        paths += [f"/executions/{execution}{of}" for of in ("", "/components", "/history", "/logs?level=debug")]
    answers = [await admin.get(path) for path in paths]
    assert [answer.status for answer in answers] == [200] * len(paths)
    return b"\n".join(answer.body for answer in answers)


def hides(*shown: bytes) -> bool:
    return not any(secret.encode() in each for secret in SECRETS for each in shown)


async def test_they_go_outside_in_clear_and_are_shown_nowhere(admin: Client, hub: Hub) -> None:
    async with receiving() as receiver:
        receiver.replies = [echo] * 10
        created = await admin.post("/workflows", {"name": unique("w"), "definition": graph(receiver.url)})
        id = created.data["id"]
        run = await admin.ended(await admin.execution(id))
        sent = [each.headers for each in receiver.arrived]
    assert (run["status"], hides(created.body)) == ("completed", True)
    assert sent[0]["Authorization"] == f"Bearer {TOKEN}"
    assert [each["X-API-Key"] for each in sent[1:]] == [KEY, KEY]
    answered = run["results"]["all"]["results"][0]["each"]["body"]
    assert answered["X-API-Key"] == "[REDACTED]"
    components = (await admin.get(f"/executions/{run['id']}/components")).data
    call = next(each for each in components if each["component_id"] == "call")
    assert (call["output_data"]["body"]["Authorization"], call["output_data"]["body"]["bare"]) == ("[REDACTED]",) * 2
    assert call["input_data"]["headers"] == {"Authorization": "[REDACTED]", "X-Tenant": "seen"}
    assert hides(await all_that_is_shown(admin, id, run["id"]))
    for stream in (f"workflow:{id}", f"execution:{run['id']}"):
        assert hides(*(recorded.data for recorded in await hub.services.store.log.stream(stream)))


@pytest.mark.parametrize("form", [graph, blocks])
async def test_what_was_shown_may_be_sent_back_and_changes_nothing(admin: Client, form: Any) -> None:
    async with receiving() as receiver:
        made = await admin.workflow(form(receiver.url))
        path = f"/workflows/{made['id']}"
        shown = (await admin.get(path)).data["definition"]
        assert "[REDACTED]" in str(shown)
        assert hides(msgspec.json.encode(shown))
        for same in (shown, form(receiver.url)):
            assert (await admin.put(path, {"definition": same})).data["version"] == 1
        shown["fail_fast"] = False
        changed = await admin.put(path, {"definition": shown})
        assert (changed.status, changed.data["version"]) == (200, 2)
        receiver.replies = [echo] * 10
        assert (await admin.ended(await admin.execution(made["id"])))["status"] == "completed"
        name, value = ("Authorization", f"Bearer {TOKEN}") if form is graph else ("Cookie", TOKEN)
        assert receiver.arrived[0].headers[name] == value
    assert hides(await all_that_is_shown(admin, made["id"]))


async def test_another_credential_is_another_version(admin: Client) -> None:
    async with receiving() as receiver:
        made = await admin.workflow(graph(receiver.url))
        other = graph(receiver.url)
        other["components"][1]["config"]["headers"]["Authorization"] = OTHER
        changed = await admin.put(f"/workflows/{made['id']}", {"definition": other})
        assert changed.data["version"] == 2
        await admin.ended(await admin.execution(made["id"]))
        assert receiver.arrived[0].headers["Authorization"] == OTHER
    assert hides(changed.body, await all_that_is_shown(admin, made["id"]))


async def test_what_is_shown_cannot_be_kept_where_nothing_is_stored(admin: Client) -> None:
    definition = graph("https://example.com")
    made = await admin.workflow(definition)
    definition["components"][1]["id"] = definition["connections"][0]["target"] = "renamed"
    definition["connections"][1]["source"] = "renamed"
    definition["components"][1]["config"]["headers"]["Authorization"] = "[REDACTED]"
    field = "definition.components[1].config.headers.Authorization"
    for answer in (
        await admin.post("/workflows", {"name": unique("w"), "definition": definition}),
        await admin.put(f"/workflows/{made['id']}", {"definition": definition}),
    ):
        assert (answer.status, answer.fields) == (422, [field])
    assert (await admin.get(f"/workflows/{made['id']}")).data["version"] == 1


async def test_templates_and_what_is_made_of_them(admin: Client, hub: Hub) -> None:
    async with receiving() as receiver:
        definition = graph(receiver.url)
        definition["components"][2]["config"]["body"]["components"][0]["config"]["headers"] = {"Token": "x {{key}}"}
        template = {"name": unique("t"), "workflow_definition": definition, "parameters": [{"name": "key"}]}
        added = await admin.post("/templates", template)
        assert added.status == 201, added.body
        id = added.data["id"]
        made = await admin.post(f"/templates/{id}/create-workflow", {"parameters": {"key": KEY}})
        assert made.status == 201, made.body
        await admin.ended(await admin.execution(made.data["id"]))
        sent = [each.headers for each in receiver.arrived]
    assert (sent[0]["Authorization"], sent[1]["Token"]) == (f"Bearer {TOKEN}", f"x {KEY}")
    assert "x {{key}}" in str(added.data["workflow_definition"])
    shown = (await admin.get(f"/templates/{id}")).body
    assert hides(added.body, made.body, shown, await all_that_is_shown(admin, made.data["id"]))
    assert hides(*(recorded.data for recorded in await hub.services.store.log.stream(f"template:{id}")))


async def test_a_secret_cut_from_a_long_answer_shows_no_half(admin: Client) -> None:
    async with receiving() as receiver:

        async def fails(arrived: Arrived) -> web.Response:
            return web.Response(status=400, text="x" * 1990 + arrived.headers["X-API-Key"])

        receiver.replies = [fails]
        config = {"url": receiver.url, "headers": {"X-API-Key": KEY}}
        parts = [{"id": "start", "type": "start"}, {"id": "call", "type": "http_request", "config": config}]
        made = await admin.workflow({"components": parts, "connections": [{"source": "start", "target": "call"}]})
        run = await admin.ended(await admin.execution(made["id"]))
    assert run["error"]["details"]["body"] == "x" * 1990 + "[REDACTED]"
