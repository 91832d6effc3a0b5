"""Schedules through the doors: made, changed, shown, run now, refused, and really coming on a whole hub."""

from __future__ import annotations

from typing import Any

import pytest

from executor.domain.values import moment
from hub.auth.permissions import PERMISSIONS
from tests.integration.hubs import SMALLEST, WAITING, Client, Hub, unique, until
from tests.integration.receiving import receiving

pytestmark = pytest.mark.asyncio(loop_scope="session")

SHOWN = {
    *("id", "name", "description", "workflow_id", "cron", "interval_seconds", "timezone", "parameters", "priority"),
    *("tags", "project_id", "overlap_policy", "queue_limit", "catch_up", "catch_up_window_seconds", "jitter_seconds"),
    *("start_at", "end_at", "status", "paused", "pause_reason", "next_run_at", "last_run_at", "last_execution_id"),
    *("last_skipped", "run_count", "queued_count", "created_by", "created_at", "updated_at", "next_run_times"),
}
SECRETIVE = SMALLEST | {"parameters": [{"name": "token", "type": "string", "required": True, "secret": True}]}


async def scheduled(client: Client, definition: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    workflow = fields.pop("workflow_id", None) or (await client.workflow(definition))["id"]
    body = {"name": unique("schedule"), "workflow_id": workflow} | fields
    answer = await client.post("/schedules", body if "interval_seconds" in body else {"cron": "@daily"} | body)
    assert answer.status == 201, answer.body
    created: dict[str, Any] = answer.data
    return created


async def refused(client: Client, **fields: Any) -> dict[str, str]:
    """What is wrong with a new schedule, field by field."""
    workflow = (await client.workflow())["id"]
    body = {"name": unique("schedule"), "workflow_id": workflow, "cron": "@daily"} | fields
    answer = await client.post("/schedules", {name: value for name, value in body.items() if value != "none"})
    assert (answer.status, answer.codes) == (422, {"VALIDATION_ERROR"}), answer.body
    return {error["field"]: error["message"] for error in answer.errors}


async def test_making_one_shows_all_of_it_and_when_it_comes(admin: Client) -> None:
    made = await scheduled(
        admin,
        cron="30  2 * * *",
        timezone="Europe/Berlin",
        description="d",
        priority="high",
        tags=["a"],
        catch_up=True,
    )
    assert set(made) == SHOWN
    me = (await admin.get("/me")).data["id"]
    wanted = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "priority": 8, "catch_up": "all", "created_by": me}
    wanted |= {"overlap_policy": "skip", "status": "active", "paused": False}
    assert {name: made[name] for name in wanted} == wanted
    assert (made["run_count"], made["last_run_at"], made["last_skipped"]) == (0, None, None)
    assert made["next_run_times"][0] == made["next_run_at"]
    assert len(made["next_run_times"]) == 5
    assert {moment(each).minute for each in made["next_run_times"]} == {30}
    got = await admin.get(f"/schedules/{made['id']}")
    assert got.data == made
    (listed,) = (await admin.get("/schedules")).data
    assert listed == {name: value for name, value in made.items() if name != "next_run_times"}
    answer = await admin.get(f"/schedules/{made['id']}/next", count=20)
    assert answer.data[:5] == made["next_run_times"]
    assert len(answer.data) == 20
    assert (await admin.get(f"/schedules/{made['id']}/next", count=0)).fields == ["count"]


async def test_a_workflow_may_be_said_by_its_name(admin: Client) -> None:
    workflow = await admin.workflow()
    body = {"name": "n", "workflow_name": workflow["name"], "cron": "@daily"}
    assert (await admin.post("/schedules", body)).data["workflow_id"] == workflow["id"]
    both = await admin.post("/schedules", body | {"name": "m", "workflow_id": workflow["id"]})
    assert (both.status, both.fields) == (422, ["workflow_name"])


async def test_everything_that_is_wrong_is_said_at_once(admin: Client) -> None:
    found = await refused(
        admin, cron="99 * * * *", timezone="Mars/Olympus", workflow_id="nothing", parameters={"a": "[REDACTED]"}
    )
    assert set(found) == {"cron", "timezone", "workflow_id", "parameters.a"}
    assert "minute" in found["cron"]
    assert "Mars/Olympus" in found["timezone"]
    also = await admin.post("/schedules", {"name": 5, "cron": "99 * * * *", "timezone": "x", "workflow_id": "w"})
    assert also.fields == ["cron", "name", "timezone"]


async def test_what_is_refused_names_its_field(admin: Client) -> None:
    assert set(await refused(admin, cron="none")) == {"cron"}
    assert set(await refused(admin, cron=None)) == {"cron"}
    assert set(await refused(admin, interval_seconds=60)) == {"interval_seconds"}
    assert set(await refused(admin, interval_seconds=0)) == {"interval_seconds"}
    assert set(await refused(admin, workflow_id="none")) == {"workflow_id"}
    assert set(await refused(admin, overlap_policy="sometimes")) == {"overlap_policy"}
    catch_up = await refused(admin, catch_up="some")
    assert catch_up == {"catch_up": "catch_up: must be none, latest or all, or true or false"}
    assert set(await refused(admin, cron="0 0 31 2 *")) == {"cron"}
    assert set(await refused(admin, start_at="2030-01-02T00:00:00Z", end_at="2030-01-01T00:00:00Z")) == {"end_at"}
    assert set(await refused(admin, start_at="2030-01-02T00:00:00")) == {"start_at"}, "without a zone"
    assert set(await refused(admin, jitter_seconds=-1)) == {"jitter_seconds"}
    assert set(await refused(admin, parameters={"a": "x" * 70_000})) == {"parameters"}
    assert (await admin.get("/schedules")).data == []


async def test_parameters_are_those_of_the_workflow(admin: Client) -> None:
    declaring = SMALLEST | {"parameters": [{"name": "n", "type": "integer", "required": True}]}
    workflow = (await admin.workflow(declaring))["id"]
    assert set(await refused(admin, workflow_id=workflow)) == {"parameters.n"}
    assert set(await refused(admin, workflow_id=workflow, parameters={"n": "x"})) == {"parameters.n"}
    made = await scheduled(admin, workflow_id=workflow, parameters={"n": 1})
    wrong = await admin.put(f"/schedules/{made['id']}", {"parameters": {}})
    assert (wrong.status, wrong.fields) == (422, ["parameters.n"])
    other = await admin.workflow()
    moved = await admin.put(f"/schedules/{made['id']}", {"workflow_id": other["id"]})
    assert moved.data["workflow_id"] == other["id"]
    assert (await admin.get("/schedules", workflow_id=other["id"])).data[0]["id"] == made["id"]
    assert (await admin.get("/schedules", workflow_id=workflow)).data == []


async def test_secret_parameters_are_never_shown_and_stay_what_they_are(admin: Client) -> None:
    made = await scheduled(admin, SECRETIVE, parameters={"token": "s3cret-t0ken", "n": 1})
    assert made["parameters"] == {"token": "[REDACTED]", "n": 1}
    answer = await admin.put(f"/schedules/{made['id']}", {"parameters": made["parameters"] | {"n": 2}})
    assert answer.data["parameters"] == {"token": "[REDACTED]", "n": 2}
    run = (await admin.post(f"/schedules/{made['id']}/trigger")).data["id"]
    ended = await admin.ended(run)
    assert (ended["status"], ended["parameters"]) == ("completed", {"token": "[REDACTED]", "n": 2})
    for path in ("/events", "/schedules", f"/executions/{run}/history"):
        assert b"s3cret-t0ken" not in (await admin.get(path)).body
    events = await admin.events(types="schedule.created,schedule.updated")
    assert [each["data"]["parameters"]["token"] for each in events] == ["[REDACTED]"] * 2


async def test_put_merges_and_null_is_the_default(admin: Client) -> None:
    made = await scheduled(admin, timezone="Asia/Tokyo", priority=9, overlap_policy="queue", tags=["a"])
    path = f"/schedules/{made['id']}"
    changed = (await admin.put(path, {"priority": None, "timezone": None, "description": "new"})).data
    assert (changed["priority"], changed["timezone"], changed["description"]) == (None, "UTC", "new")
    assert (changed["overlap_policy"], changed["tags"], changed["cron"]) == ("queue", ["a"], "@daily")
    assert changed["next_run_at"].endswith("T00:00:00.000Z")
    interval = (await admin.put(path, {"interval_seconds": 3600})).data
    assert (interval["cron"], interval["interval_seconds"]) == (None, 3600)
    for wrong in ({"interval_seconds": None}, {"cron": None, "interval_seconds": None}):
        answer = await admin.put(path, wrong)
        assert answer.status == 422, answer.body
        assert set(answer.fields) <= {"cron", "interval_seconds"}
    assert (await admin.put(path, {"end_at": "2020-01-01T00:00:00Z"})).data["status"] == "finished"
    assert (await admin.get(path)).data["next_run_times"] == []
    again = [name for name in made if name not in SHOWN - {"name", "cron", "timezone", "tags", "parameters"}]
    assert (await admin.put(path, {name: made[name] for name in again})).status == 200


async def test_names_are_unique_until_it_is_deleted(admin: Client) -> None:
    made = await scheduled(admin, name="nightly")
    other = await scheduled(admin)
    body = {"name": "nightly", "workflow_id": made["workflow_id"], "cron": "@daily"}
    for answer in (await admin.post("/schedules", body), await admin.put(f"/schedules/{other['id']}", body)):
        assert (answer.status, answer.fields) == (409, ["name"])
    gone = await admin.delete(f"/schedules/{made['id']}")
    assert (gone.status, gone.data) == (200, None)
    for answer in (await admin.delete(f"/schedules/{made['id']}"), await admin.get(f"/schedules/{made['id']}")):
        assert (answer.status, answer.codes) == (404, {"RESOURCE_NOT_FOUND"})
    assert (await admin.post("/schedules", body)).status == 201


async def test_pause_and_resume(admin: Client) -> None:
    made = await scheduled(admin)
    path = f"/schedules/{made['id']}"
    paused = (await admin.post(f"{path}/pause", {"reason": "holidays"})).data
    assert (paused["status"], paused["paused"], paused["pause_reason"]) == ("paused", True, "holidays")
    assert (paused["next_run_at"], (await admin.get(f"{path}/next")).data) == (None, [])
    again = await admin.post(f"{path}/pause")
    assert (again.status, again.errors[0]["details"]) == (409, {"current_status": "paused"})
    assert [each["id"] for each in (await admin.get("/schedules", status="paused")).data] == [made["id"]]
    resumed = (await admin.post(f"{path}/resume")).data
    assert (resumed["status"], resumed["next_run_at"]) == ("active", made["next_run_at"])
    assert (await admin.post(f"{path}/resume")).status == 409
    assert (await admin.put(path, {"paused": True})).data["paused"] is True
    assert (await scheduled(admin, paused=True))["next_run_at"] is None


async def test_running_now_follows_the_overlap_policy(admin: Client) -> None:
    made = await scheduled(admin, WAITING, paused=True)
    path = f"/schedules/{made['id']}"
    answer = await admin.post(f"{path}/trigger")
    assert (answer.status, answer.data["status"], answer.data["schedule_id"]) == (202, "queued", made["id"])
    first = answer.data["execution_id"]
    overlaps = await admin.post(f"{path}/trigger")
    assert (overlaps.status, overlaps.fields) == (409, ["overlap_policy"])
    assert first in overlaps.errors[0]["message"]
    await admin.put(path, {"overlap_policy": "queue"})
    second = (await admin.post(f"{path}/trigger")).data
    assert second["status"] == "pending"
    assert (await admin.get(path)).data["queued_count"] == 1
    listed = (await admin.get(f"{path}/executions")).data
    assert {each["id"] for each in listed} == {first, second["id"]}
    assert {each["triggered_by"] for each in listed} == {f"schedule:{made['id']}"}
    await admin.post(f"/executions/{first}/cancel")

    async def has_started() -> bool:
        return bool((await admin.get(f"/executions/{second['id']}")).data["status"] == "running")

    await until(has_started)
    await admin.put(path, {"overlap_policy": "cancel"})
    await admin.post(f"{path}/trigger")
    assert (await admin.get(f"/executions/{second['id']}")).data["status"] == "cancelled"


async def test_a_workflow_that_does_not_run_is_a_conflict_when_it_is_run_now(admin: Client) -> None:
    made = await scheduled(admin)
    await admin.post(f"/workflows/{made['workflow_id']}/archive")
    answer = await admin.post(f"/schedules/{made['id']}/trigger")
    assert (answer.status, answer.errors[0]["details"]) == (409, {"current_status": "archived"})
    await admin.delete(f"/workflows/{made['workflow_id']}")
    assert (await admin.post(f"/schedules/{made['id']}/trigger")).fields == ["workflow_id"]
    await admin.post(f"/schedules/{made['id']}/pause")
    assert (await admin.post(f"/schedules/{made['id']}/resume")).fields == ["workflow_id"]


async def test_nobody_does_by_a_schedule_what_they_may_not_do_themselves(hub: Hub) -> None:
    organization = unique("organization")
    admin = await hub.client(organization)
    made = await scheduled(admin)
    lacking = await hub.client(organization, permissions=tuple(sorted(PERMISSIONS - {"workflow.execute"})))
    path = f"/schedules/{made['id']}"
    for method, at, body in (
        ("POST", "/schedules", {"name": "n", "workflow_id": made["workflow_id"], "cron": "@daily"}),
        ("PUT", path, {"cron": "@hourly"}),
        ("POST", f"{path}/trigger", None),
        ("POST", f"{path}/resume", None),
    ):
        answer = await lacking.send(method, at, body)
        assert (answer.status, answer.codes) == (403, {"AUTHORIZATION_ERROR"}), (method, at)
        assert answer.errors[0]["details"] == {"permission": "workflow.execute"}
    for answer in (await lacking.get(path), await lacking.post(f"{path}/pause"), await lacking.delete(path)):
        assert answer.status == 200


async def test_another_organizations_workflow_is_not_there(hub: Hub, admin: Client) -> None:
    theirs = await (await hub.client()).workflow()
    assert set(await refused(admin, workflow_id=theirs["id"])) == {"workflow_id"}
    assert set(await refused(admin, workflow_id="none", workflow_name=theirs["name"])) == {"workflow_name"}


async def test_it_comes(admin: Client) -> None:
    """By itself, on a whole hub; with a webhook that hears of it, and its execution done."""
    async with receiving() as receiver:
        await admin.webhook(receiver.url, "schedule.fired")
        made = await scheduled(admin, interval_seconds=1, priority=9)
        path = f"/schedules/{made['id']}"

        async def has_run() -> Any:
            return [each for each in (await admin.get(f"{path}/executions")).data if each["status"] == "completed"]

        (run, *_) = await until(has_run)
        assert (run["priority"], run["triggered_by"]) == (9, f"schedule:{made['id']}")
        await admin.post(f"{path}/pause")
        shown = (await admin.get(path)).data
        assert shown["run_count"] == len(await admin.events(types="schedule.fired")) >= 1

        async def has_arrived() -> bool:
            return len(receiver.arrived) == shown["run_count"]

        await until(has_arrived)
        told = receiver.arrived[0].json["data"]["schedule"]
        assert (told["id"], told["name"]) == (made["id"], made["name"])
        assert (await admin.get(f"/executions/{told['execution_id']}")).status == 200
