"""What is secret is nowhere to be read: no answer, no event, no line of the program's log, no file shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp

from tests.integration.hubs import until, up
from tests.integration.receiving import receiving

SECRETS = {
    "webhook secret": "s3cret-of-the-webhook",
    "bearer token": "t0ken-of-the-receiver",
    "header value": "h3ader-of-the-receiver",
    "parameter": "p4rameter-of-the-run",
    "agent token": "t0ken-of-the-agent",
    "agent key": "k3y-of-the-agent",
}


async def test_no_answer_event_log_line_or_file_shows_a_secret(tmp_path: Path) -> None:
    data_dir, answers = tmp_path / "data", list[bytes]()
    async with receiving() as receiver, up(data_dir, LOG_LEVEL="debug") as hub, aiohttp.ClientSession() as http:
        client = hub.client(http)

        async def send(method: str, path: str, body: Any = None) -> Any:
            answer = await client.send(method, path, body)
            answers.append(answer.body)
            return answer

        webhook = {
            "url": receiver.url,
            "events": ["execution.*"],
            "secret": SECRETS["webhook secret"],
            "authentication": {"type": "bearer", "token": SECRETS["bearer token"]},
            "headers": {"X-Tenant": SECRETS["header value"]},
        }
        created = await send("POST", "/webhooks", webhook)
        assert answers.pop().count(SECRETS["webhook secret"].encode()) == 1, "shown once, at creation"
        key = (await send("POST", "/auth/api-keys", {"name": "n", "role": "admin"})).data["api_key"]
        answers.pop()
        for wrong in ({"secret": "whsec_" + key, "url": 5}, {"headers": {"Host": key}}, {"authentication": key}):
            assert (await send("PUT", f"/webhooks/{created.data['id']}", wrong)).status == 422
        agent = {
            "name": "n",
            "url": receiver.url,
            "auth_type": "bearer",
            "auth_config": {"token": SECRETS["agent token"]},
        }
        asked = (await send("POST", "/agents", agent)).data["id"]
        assert (await send("GET", f"/agents/{asked}/health")).data["healthy"]
        key_of = {"auth_type": "apikey", "auth_config": {"key": SECRETS["agent key"]}}
        await send("PUT", f"/agents/{asked}", key_of)
        assert (await send("PUT", f"/agents/{asked}", key_of | {"url": 5})).status == 422
        assert (await send("GET", f"/agents/{asked}/health")).data["healthy"]
        carried = [each.headers for each in receiver.arrived if each.path == "/health"]
        assert carried[0]["Authorization"] == f"Bearer {SECRETS['agent token']}"
        assert carried[1]["X-API-Key"] == SECRETS["agent key"]
        definition = {
            "components": [
                {"id": "start", "type": "start"},
                {
                    "id": "call",
                    "type": "http_request",
                    "config": {"url": receiver.url, "method": "POST", "headers": {"X-Token": "{{token}}"}},
                },
                {
                    "id": "fails",
                    "type": "http_request",
                    "config": {"url": f"{receiver.url}/{{{{token}}}}", "expect_status": 418},
                },
            ],
            "connections": [{"source": "start", "target": "call"}, {"source": "call", "target": "fails"}],
            "parameters": [{"name": "token", "type": "string", "required": True, "secret": True}],
        }
        workflow = (await send("POST", "/workflows", {"name": "n", "definition": definition})).data["id"]
        refused = await send(
            "POST", f"/workflows/{workflow}/execute", {"parameters": {"token": [SECRETS["parameter"]]}}
        )
        assert refused.status == 422
        run = await send("POST", f"/workflows/{workflow}/execute", {"parameters": {"token": SECRETS["parameter"]}})
        nightly = {"name": "n", "workflow_id": workflow, "cron": "@daily", "paused": True}
        nightly |= {"parameters": {"token": SECRETS["parameter"]}}
        schedule = (await send("POST", "/schedules", nightly)).data["id"]
        wrong_type = {"parameters": {"token": [SECRETS["parameter"]]}}
        assert (await send("PUT", f"/schedules/{schedule}", wrong_type)).status == 422
        again = (await send("POST", f"/schedules/{schedule}/trigger")).data["id"]
        assert (await client.ended(again))["parameters"] == {"token": "[REDACTED]"}
        execution = await client.ended(run.data["id"])
        assert execution["status"] == "failed"
        assert execution["parameters"] == {"token": "[REDACTED]"}
        tokens = [each.headers["X-Token"] for each in receiver.arrived if "X-Token" in each.headers]
        assert tokens == [SECRETS["parameter"]] * 2, "outside it goes in clear"

        async def arrived() -> bool:
            delivered = [each for each in receiver.arrived if "webhook-id" in each.headers]
            return any(each.event == "execution.failed" for each in delivered)

        await until(arrived)
        for each in receiver.arrived:
            assert SECRETS["parameter"].encode() not in each.body
        for path in (
            *(f"/executions/{execution['id']}{of}" for of in ("", "/components", "/history", "/logs")),
            *("/events?limit=1000", "/executions", "/webhooks", "/agents", "/schedules", "/auth/api-keys", "/me"),
            *(f"/webhooks/{created.data['id']}{of}" for of in ("", "/deliveries")),
            *(f"/workflows/{workflow}{of}" for of in ("", "/versions")),
        ):
            await send("GET", path)
        credentials = hub.key
        assert await hub.stop() == 0
        log = hub.log
    assert "request" in log, "it was really at the level debug"
    kept = {path.name: path.read_bytes() for path in data_dir.iterdir()}
    for name, secret in SECRETS.items() | {("new key", key), ("first key", credentials)}:
        assert secret not in log, name
        assert not any(secret.encode() in answer for answer in answers), name
        for file, data in kept.items():
            assert secret.encode() not in data or (file, name) == ("credentials.json", "first key"), (name, file)
