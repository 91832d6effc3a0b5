"""`webhook_callback_url`: a webhook for one run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.hubs import WAITING, Client, Hub, until
from tests.integration.receiving import Arrived, Receiver, receiving
from webhooks.verification import verify

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def execute(admin: Client, workflow: dict[str, Any], url: str, **headers: str) -> dict[str, Any]:
    body = {"webhook_callback_url": url}
    answer = await admin.send("POST", f"/workflows/{workflow['id']}/execute", body, headers=headers)
    assert answer.status == 202, answer.body
    started: dict[str, Any] = answer.data
    return started


async def arrived(receiver: Receiver, count: int) -> list[Arrived]:
    async def look() -> list[Arrived] | None:
        return list(receiver.arrived) if len(receiver.arrived) >= count else None

    found: list[Arrived] = await until(look)
    return found


async def test_the_end_of_a_run_goes_to_its_url_signed_and_of_no_other_run(admin: Client) -> None:
    workflow, endless = await admin.workflow(), await admin.workflow(WAITING)
    async with receiving() as receiver:
        first = await execute(admin, workflow, receiver.url)
        secret = first["callback"]["secret"]
        (completed,) = await arrived(receiver, 1)
        verify(completed.body, completed.headers, secret)
        assert completed.event == "execution.completed"
        assert completed.json["data"]["execution"]["id"] == first["execution_id"]
        assert "callback" not in str(completed.json)
        await admin.ended(await admin.execution(workflow["id"]))
        second = await execute(admin, endless, receiver.url)
        assert second["callback"] == {"webhook_id": first["callback"]["webhook_id"]}
        await admin.post(f"/executions/{second['id']}/cancel")
        cancelled = (await arrived(receiver, 2))[1]
        verify(cancelled.body, cancelled.headers, secret)
        assert (cancelled.event, cancelled.json["data"]["execution"]["id"]) == ("execution.cancelled", second["id"])
        await admin.post(f"/executions/{second['id']}/retry")
        await admin.post(f"/executions/{second['id']}/cancel")
        assert (await arrived(receiver, 3))[2].json["data"]["execution"]["id"] == second["id"]
        assert len(receiver.arrived) == 3


async def test_its_webhook_is_one_like_others(hub: Hub, admin: Client) -> None:
    workflow = await admin.workflow()
    async with receiving() as receiver:
        body = {"webhook_callback_url": receiver.url}
        path = f"/workflows/{workflow['id']}/execute"
        made = await execute(admin, workflow, receiver.url, **{"Idempotency-Key": "once"})
        assert await execute(admin, workflow, receiver.url, **{"Idempotency-Key": "once"}) == made
        (listed,) = (await admin.get("/webhooks")).data
        assert (listed["id"], listed["callback"], listed["url"]) == (
            made["callback"]["webhook_id"],
            True,
            receiver.url,
        )
        webhook = f"/webhooks/{listed['id']}"
        await admin.post(f"{webhook}/disable")
        off = await admin.post(path, body)
        assert (off.status, off.fields) == (409, ["webhook_callback_url"])
        assert f"{webhook}/enable" in off.errors[0]["message"]
        await admin.post(f"{webhook}/enable")
        assert "secret" not in (await execute(admin, workflow, receiver.url))["callback"]
        await admin.delete(webhook)
        anew = await execute(admin, workflow, receiver.url)
        assert anew["callback"]["webhook_id"] == listed["id"]
        assert anew["callback"]["secret"] != made["callback"]["secret"]

        async def is_signed_anew() -> bool:
            found = [each for each in receiver.arrived if each.json["data"]["execution"]["id"] == anew["id"]]
            return bool(found and (verify(found[0].body, found[0].headers, anew["callback"]["secret"]) or True))

        await until(is_signed_anew)
        stranger = await hub.client()
        theirs = await execute(stranger, await stranger.workflow(), receiver.url)
        assert theirs["callback"]["webhook_id"] != listed["id"]


async def test_a_url_that_no_webhook_may_have_starts_nothing(admin: Client) -> None:
    workflow = await admin.workflow()
    for url in ("http://10.0.0.1/", "ftp://example.com", "nonsense", ""):
        refused = await admin.post(f"/workflows/{workflow['id']}/execute", {"webhook_callback_url": url})
        assert (refused.status, refused.fields) == (422, ["webhook_callback_url"]), url
    assert (await admin.get("/executions")).data == []
    assert (await admin.get("/webhooks")).data == []
