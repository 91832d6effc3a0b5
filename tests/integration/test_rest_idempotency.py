"""`Idempotency-Key`: what is said twice is done once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub.organizations import forget_key
from tests.integration.hubs import Client, Hub, unique

pytestmark = pytest.mark.asyncio(loop_scope="session")

SMALLEST = {"components": [{"id": "start", "type": "start"}]}


def named() -> dict[str, Any]:
    return {"name": unique("workflow"), "definition": SMALLEST}


async def said(client: Client, path: str, body: Any, key: str) -> Any:
    return await client.send("POST", path, body, headers={"Idempotency-Key": key})


async def test_the_same_request_is_done_once_and_answered_twice(admin: Client) -> None:
    body, key = named(), unique("key")
    first, second = await said(admin, "/workflows", body, key), await said(admin, "/workflows", body, key)
    assert (first.status, second.status) == (201, 201)
    assert second.body == first.body
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"


async def test_the_order_and_the_blanks_of_a_body_do_not_matter(admin: Client) -> None:
    body, key = named(), unique("key")
    first = await said(admin, "/workflows", body, key)
    second = await said(admin, "/workflows", dict(reversed(body.items())), key)
    assert second.body == first.body


async def test_another_body_or_path_under_the_same_key_is_a_409(admin: Client) -> None:
    key = unique("key")
    workflow = (await said(admin, "/workflows", named(), key)).data
    other = await said(admin, "/workflows", named(), key)
    assert (other.status, other.codes, other.fields) == (409, {"RESOURCE_CONFLICT"}, ["Idempotency-Key"])
    elsewhere = await said(admin, f"/workflows/{workflow['id']}/execute", {}, key)
    assert elsewhere.status == 409


async def test_many_at_once_are_one(admin: Client) -> None:
    workflow, key = await admin.workflow(SMALLEST), unique("key")
    path = f"/workflows/{workflow['id']}/execute"
    answers = await asyncio.gather(*(said(admin, path, {}, key) for _ in range(8)))
    assert {answer.status for answer in answers} == {202}
    assert len({answer.data["id"] for answer in answers}) == 1
    assert len((await admin.get(f"/workflows/{workflow['id']}/executions")).data) == 1


async def test_a_refusal_is_an_answer_too_and_what_could_not_be_read_is_none(admin: Client) -> None:
    body, key = named(), unique("key")
    await admin.post("/workflows", body)
    assert (await said(admin, "/workflows", body, key)).status == 409
    again = await said(admin, "/workflows", body, key)
    assert (again.status, again.fields) == (409, ["name"])
    assert (await said(admin, "/workflows", {"name": 1}, other := unique("key"))).status == 422
    assert (await said(admin, "/workflows", named(), other)).status == 201


async def test_a_key_is_its_organizations(hub: Hub, admin: Client) -> None:
    body, key = named(), unique("key")
    stranger = await hub.client()
    first, second = await said(admin, "/workflows", body, key), await said(stranger, "/workflows", body, key)
    assert (first.status, second.status) == (201, 201)
    assert first.data["id"] != second.data["id"]


async def test_what_is_shown_only_once_is_kept_sealed(hub: Hub, admin: Client) -> None:
    body, key = {"name": "n", "role": "read_only"}, unique("key")
    first, second = await said(admin, "/auth/api-keys", body, key), await said(admin, "/auth/api-keys", body, key)
    assert second.data == first.data
    assert first.data["api_key"].encode() not in b"".join(
        file.read_bytes() for file in hub.services.settings.data_dir.glob("runcast.db*")
    )


@pytest.mark.parametrize("key", ["", "a b", "ü", "x" * 256])
async def test_what_is_no_key_is_a_422(admin: Client, key: str) -> None:
    answer = await said(admin, "/workflows", named(), key)
    assert (answer.status, answer.fields) == (422, ["Idempotency-Key"])


async def test_what_was_done_is_answered_although_the_answer_cannot_be_kept(hub: Hub) -> None:
    client = await hub.client()
    ledger = hub.services.store.ledgers.organizations
    organization = await ledger.get(client.organization_id)
    assert organization is not None
    await forget_key(ledger, organization.name)
    hub.services.sealer.forget(organization.id)
    body, key = named(), unique("key")
    assert (await said(client, "/workflows", body, key)).status == 201
    assert [each["name"] for each in (await client.get("/workflows")).data] == [body["name"]]
