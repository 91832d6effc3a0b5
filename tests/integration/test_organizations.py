"""Forgetting an organization's key, which forgets all that is sealed for it, beside a running hub."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.hubs import Client, runcast, running, until, up

pytestmark = pytest.mark.asyncio(loop_scope="session")

URL = "http://127.0.0.1:2/"
USING_A_SECRET: dict[str, Any] = {
    "components": [
        {"id": "start", "type": "start"},
        {"id": "call", "type": "http_request", "config": {"url": URL, "headers": {"X-Token": "{{token}}"}}},
    ],
    "connections": [{"source": "start", "target": "call"}],
    "parameters": [{"name": "token", "secret": True}],
}


async def error_of_a_test(client: Client, webhook_id: str) -> str:
    """What the first attempt of a test event comes to."""
    delivery = (await client.post(f"/webhooks/{webhook_id}/test")).data["delivery_id"]

    async def attempted() -> Any:
        return (await client.get(f"/deliveries/{delivery}")).data["attempts"]

    attempts = await until(attempted)
    return str(attempts[0]["error"])


async def test_a_forgotten_key_takes_every_secret_with_it(tmp_path: Path) -> None:
    async with up(tmp_path) as hub, aiohttp.ClientSession() as http:
        client = hub.client(http)
        made = await runcast("keys", "create", "--name", "k", "--organization", "other", "--data-dir", tmp_path)
        other = hub.client(http, made.out.strip())
        webhook, others = await client.webhook(URL, "workflow.*"), await other.webhook(URL, "workflow.*")
        workflow = await client.workflow(USING_A_SECRET)
        assert "forgotten" not in await error_of_a_test(client, webhook["id"])
        ran = await runcast("organizations", "forget-key", "default", "--yes", "--data-dir", tmp_path)
        assert (ran.code, ran.out) == (0, "The key of organization 'default' is forgotten.\n")
        assert "'default' was forgotten" in await error_of_a_test(client, webhook["id"])
        assert "forgotten" not in await error_of_a_test(other, others["id"])
        for refused in (
            await client.post("/webhooks", {"url": URL, "events": ["*"]}),
            await client.post(f"/workflows/{workflow['id']}/execute", {"parameters": {"token": "hush"}}),
        ):
            assert (refused.status, refused.codes) == (409, {"RESOURCE_CONFLICT"})
            assert "'default' was forgotten" in refused.errors[0]["message"]
        assert (await client.get("/workflows")).status == 200
        assert (
            "forgotten already"
            in (await runcast("organizations", "forget-key", "default", "--yes", "--data-dir", tmp_path)).err
        )
        listed = await runcast("organizations", "list", "--data-dir", tmp_path)
        found = {each["name"]: each for each in map(json.loads, listed.out.splitlines())}
        assert {name: each["has_key"] for name, each in found.items()} == {"default": False, "other": True}
        assert await hub.stop() == 0
    async with up(tmp_path) as hub, aiohttp.ClientSession() as http:
        client = hub.client(http)
        assert "'default' was forgotten" in await error_of_a_test(client, webhook["id"])
        ran = await runcast("organizations", "new-key", "default", "--data-dir", tmp_path)
        assert (ran.code, ran.out) == (0, "Organization 'default' has a new key.\n")
        fresh = await client.webhook(URL, "workflow.*")
        assert "cannot be opened" not in await error_of_a_test(client, fresh["id"])
        assert "cannot be opened" in await error_of_a_test(client, webhook["id"])
        assert "has a key" in (await runcast("organizations", "new-key", "default", "--data-dir", tmp_path)).err
        assert await hub.stop() == 0


async def test_a_component_that_needs_a_lost_secret_fails_and_says_why(tmp_path: Path) -> None:
    async with running(tmp_path) as hub:
        client = await hub.client("acme")
        definition = USING_A_SECRET | {
            "components": [*USING_A_SECRET["components"], {"id": "w", "type": "wait", "config": {"seconds": 0.5}}],
            "connections": [{"source": "start", "target": "w"}, {"source": "w", "target": "call"}],
        }
        workflow = await client.workflow(definition)
        id = await client.execution(workflow["id"], parameters={"token": "hush"})
        organizations = hub.services.store.ledgers.organizations
        acme = await organizations.get(client.organization_id)
        assert acme is not None
        await organizations.replace_key(acme.id, acme.sealed_key, "")
        hub.services.sealer.forget(acme.id)
        ended = await client.ended(id)
        assert ended["status"] == "failed"
        assert "'acme' was forgotten" in ended["error_message"]


async def test_nothing_is_forgotten_unasked(tmp_path: Path) -> None:
    async with running(tmp_path) as hub:
        await hub.client("acme")
    ran = await runcast("organizations", "forget-key", "acme", "--data-dir", tmp_path)
    assert ran.code == 1
    assert "for ever" in ran.err
    unknown = await runcast("organizations", "forget-key", "nobody", "--yes", "--data-dir", tmp_path)
    assert (unknown.code, unknown.err) == (1, "runcast: organization 'nobody' was not found\n")
    with sqlite3.connect(tmp_path / "runcast.db") as db:
        assert [key for (key,) in db.execute("SELECT sealed_key FROM organizations") if not key] == []
    db.close()


async def test_nothing_of_the_key_is_left_in_the_file(tmp_path: Path) -> None:
    async with running(tmp_path) as hub:
        await hub.client("acme")
    with sqlite3.connect(tmp_path / "runcast.db") as db:
        ((key,),) = db.execute("SELECT sealed_key FROM organizations WHERE name = 'acme'").fetchall()
    db.close()
    assert key.encode() in content(tmp_path)
    assert (await runcast("organizations", "forget-key", "acme", "--yes", "--data-dir", tmp_path)).code == 0
    assert key.encode() not in content(tmp_path)


def content(data_dir: Path) -> bytes:
    """All bytes of the database, its WAL included."""
    return b"".join(path.read_bytes() for path in data_dir.glob("runcast.db*"))
