"""Tasks over REST: people who claim, enter and complete, and workers that wait for work."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from executor.domain.errors import Unavailable
from executor.domain.values import seconds_between
from hub.tasks import claims
from tests.integration.hubs import Client, Hub, running, unique, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORM = {
    "type": "object",
    "properties": {"amount": {"type": "number", "minimum": 0}, "note": {"type": "string"}},
    "required": ["amount"],
    "additionalProperties": False,
}


def definition(config: dict[str, Any], type: str = "human_task", **fields: Any) -> dict[str, Any]:
    return {
        "components": [
            {"id": "start", "type": "start"},
            {"id": "ask", "type": type, "config": config} | fields,
            {"id": "end", "type": "end", "config": {"output": {"said": "${ask.output}"}}},
        ],
        "connections": [{"source": "start", "target": "ask"}, {"source": "ask", "target": "end"}],
    }


async def opened(client: Client, config: dict[str, Any], type: str = "human_task", **fields: Any) -> dict[str, Any]:
    """The task that a new run opens."""
    workflow = await client.workflow(definition(config, type, **fields))
    return await task_of(client, await client.execution(workflow["id"]))


async def task_of(client: Client, execution_id: str, count: int = 1) -> dict[str, Any]:
    """The newest task of a run, once it has so many."""

    async def look() -> dict[str, Any] | None:
        found = (await client.get("/tasks", execution_id=execution_id, limit=1000)).data
        return found[0] if len(found) >= count else None

    task: dict[str, Any] = await until(look)
    return task


async def external(client: Client, type: str | None = None, **config: Any) -> dict[str, Any]:
    return await opened(client, {"task_type": type or unique("type")} | config, "external_task")


async def claimed(client: Client, type: str, worker: str = "w", **fields: Any) -> list[dict[str, Any]]:
    answer = await client.post("/tasks/claim", {"types": [type], "worker_id": worker} | fields)
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.data
    return found


async def types_of(client: Client, task: dict[str, Any]) -> list[str]:
    history = (await client.get(f"/executions/{task['execution_id']}/history", limit=1000)).data
    return [event["type"] for event in history if event["stream"] == f"task:{task['id']}"]


async def test_a_person_claims_enters_and_completes_and_the_run_goes_on(admin: Client) -> None:
    task = await opened(admin, {"title": "Approve", "candidates": ["ada", "bob"], "form": FORM, "due_in_seconds": 60})
    assert (task["status"], task["kind"], task["title"], task["assignee"]) == ("pending", "human", "Approve", None)
    assert (task["candidates"], task["form"], task["overdue"]) == (["ada", "bob"], FORM, False)
    path = f"/tasks/{task['id']}"
    assert (await admin.get(path)).data == task
    claim = await admin.post(f"{path}/claim", {"assignee": "ada"})
    assert (claim.status, claim.data["status"], claim.data["assignee"]) == (200, "assigned", "ada")
    assert (await admin.post(f"{path}/claim", {"assignee": "ada"})).status == 200
    other = await admin.post(f"{path}/claim", {"assignee": "bob"})
    assert (other.status, other.errors[0]["details"]["current_status"]) == (409, "assigned")
    assert "assigned" in other.errors[0]["message"]
    assert (await admin.post(f"{path}/start", {"assignee": "ada"})).data["status"] == "running"
    wrong = await admin.post(f"{path}/complete", {"output": {"amount": -1, "colour": "red"}})
    assert (wrong.status, wrong.fields) == (422, ["output.amount", "output.colour"])
    assert (await admin.post(f"{path}/complete", {"output": {"amount": 1}, "assignee": "bob"})).status == 409
    done = await admin.post(f"{path}/complete", {"output": {"amount": 5}, "notes": "fine", "assignee": "ada"})
    assert (done.status, done.data["status"], done.data["notes"]) == (200, "completed", "fine")
    run = await admin.ended(task["execution_id"])
    assert (run["status"], run["results"]) == ("completed", {"said": {"amount": 5}})
    assert await types_of(admin, task) == ["task.created", "task.assigned", "task.started", "task.completed"]
    for command, body in (("claim", {}), ("start", {}), ("complete", {"output": {"amount": 5}}), ("cancel", {})):
        answer = await admin.post(f"{path}/{command}", body)
        assert (answer.status, answer.errors[0]["details"]["current_status"]) == (409, "completed"), command
    lines = [line["message"] for line in (await admin.get(f"{path}/logs")).data]
    assert lines == ["Task created", "Assigned to ada", "Started by ada", "Task completed"]


async def test_who_is_no_candidate_is_refused_and_who_asks_is_known(admin: Client) -> None:
    me = (await admin.get("/me")).data
    task = await opened(admin, {"candidates": ["ada"]})
    assert (await admin.post(f"/tasks/{task['id']}/claim")).status == 409
    assert (await admin.post(f"/tasks/{task['id']}/complete", {"assignee": "eve"})).status == 409
    mine = await opened(admin, {"candidates": [me["name"]]})
    assert (await admin.post(f"/tasks/{mine['id']}/claim")).data["assignee"] == me["name"]
    anybodys = await opened(admin, {})
    started = (await admin.post(f"/tasks/{anybodys['id']}/start")).data
    assert (started["status"], started["assignee"]) == ("running", me["id"])


async def test_a_task_is_given_back_and_given_to_another(admin: Client) -> None:
    task = await opened(admin, {"assignee": "ada"})
    path = f"/tasks/{task['id']}"
    assert (task["status"], task["assignee"]) == ("assigned", "ada")
    given = (await admin.post(f"{path}/reassign", {"assignee": "bob", "reason": "Ada is away"})).data
    assert (given["status"], given["assignee"]) == ("assigned", "bob")
    begun = (await admin.post(f"{path}/start")).data
    assert (begun["status"], begun["assignee"]) == ("running", "bob")
    back = (await admin.post(f"{path}/release", {"reason": "no time"})).data
    assert (back["status"], back["assignee"]) == ("pending", None)
    again = await admin.post(f"{path}/release")
    assert (again.status, again.errors[0]["details"]) == (409, {"current_status": "pending"})
    types = await types_of(admin, task)
    assert types == ["task.created", "task.assigned", "task.reassigned", "task.started", "task.released"]


async def test_a_failed_task_fails_its_run_and_can_be_retried(admin: Client) -> None:
    task = await opened(admin, {"title": "Approve"})
    path = f"/tasks/{task['id']}"
    refused = await admin.post(f"{path}/retry")
    assert (refused.status, refused.errors[0]["details"]) == (409, {"current_status": "pending"})
    assert (await admin.post(f"{path}/fail")).fields == ["error"]
    assert (await admin.post(f"{path}/fail", {"error": "no budget"})).data["error_message"] == "no budget"
    run = await admin.ended(task["execution_id"])
    assert (run["status"], run["error_message"]) == ("failed", "the task failed: no budget")
    retried = await admin.post(f"{path}/retry")
    assert (retried.status, retried.data["status"]) == (200, "failed"), retried.body
    again = await task_of(admin, task["execution_id"], 2)
    assert again["id"] != task["id"]
    await admin.post(f"/tasks/{again['id']}/complete", {"output": 1})
    assert (await admin.ended(task["execution_id"]))["results"] == {"said": 1}
    assert (await types_of(admin, task))[-1] == "task.retried"
    assert (await admin.post(f"{path}/retry")).status == 409


async def test_what_nobody_waits_for_any_more_is_cancelled_with_it(admin: Client) -> None:
    task = await opened(admin, {})
    await admin.post(f"/executions/{task['execution_id']}/cancel", {"reason": "changed my mind"})
    gone = (await admin.get(f"/tasks/{task['id']}")).data
    assert (gone["status"], gone["reason"]) == ("cancelled", "changed my mind")
    late = await admin.post(f"/tasks/{task['id']}/complete", {"output": 1})
    assert (late.status, late.errors[0]["details"]) == (409, {"current_status": "cancelled"})
    timed = await opened(admin, {}, timeout_seconds=0.2)
    assert (await admin.ended(timed["execution_id"]))["status"] == "failed"
    assert (await admin.get(f"/tasks/{timed['id']}")).data["status"] == "cancelled"


async def test_a_cancelled_task_fails_its_component(admin: Client) -> None:
    task = await opened(admin, {})
    assert (await admin.post(f"/tasks/{task['id']}/cancel", {"reason": "why"})).data["status"] == "cancelled"
    assert (await admin.ended(task["execution_id"]))["error_message"] == "the task was cancelled: why"


async def test_a_paused_run_keeps_what_was_entered(admin: Client) -> None:
    task = await opened(admin, {})
    await admin.post(f"/executions/{task['execution_id']}/pause")
    assert (await admin.post(f"/tasks/{task['id']}/complete", {"output": 2})).status == 200
    assert (await admin.get(f"/executions/{task['execution_id']}")).data["status"] == "paused"
    await admin.post(f"/executions/{task['execution_id']}/resume")
    assert (await admin.ended(task["execution_id"]))["results"] == {"said": 2}


async def test_a_task_that_stays_open_escalates_once_a_level(admin: Client) -> None:
    levels = [{"after_seconds": 0, "notify": ["ops"]}, {"after_seconds": 0, "reassign_to": "boss"}]
    task = await opened(admin, {"assignee": "ada", "due_in_seconds": 0, "escalation": levels})

    async def escalated() -> Any:
        found = (await admin.get(f"/tasks/{task['id']}")).data
        return found if found["escalation_level"] == 2 else None

    found = await until(escalated)
    assert (found["assignee"], found["status"], found["overdue"]) == ("boss", "assigned", True)
    types = await types_of(admin, task)
    assert types == ["task.created", "task.assigned", "task.escalated", "task.escalated", "task.reassigned"]
    for query in ({"overdue": "true"}, {"assignee": "boss", "sort": "due_at"}):
        assert [each["id"] for each in (await admin.get("/tasks", **query)).data] == [task["id"]]
    assert (await admin.get("/tasks", overdue="false")).data == []


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"form": {"type": "objekt"}}, "form.type"),
        ({"form": {"properties": {"a": {"$ref": "#"}}}}, "form.properties.a.$ref"),
        ({"form": {"pattern": "a(?=b)"}}, "form.pattern"),
        ({"escalation": {"notify": ["ops"]}}, "escalation"),
        ({"assignee": "a\nb"}, "assignee"),
        ({"due_in_seconds": -1}, "due_in_seconds"),
    ],
)
async def test_a_config_that_is_wrong_is_refused_with_its_workflow(
    admin: Client, config: dict[str, Any], field: str
) -> None:
    answer = await admin.post("/workflows", {"name": unique("w"), "definition": definition(config)})
    assert (answer.status, answer.fields) == (422, [f"definition.components[1].config.{field}"])


async def test_a_worker_claims_what_is_urgent_first_and_then_what_is_old(admin: Client) -> None:
    type = unique("type")
    tasks = [await external(admin, type, priority=priority, input={"n": priority}) for priority in (5, 3, 9, 5)]
    assert await claimed(admin, unique("other")) == []
    found = await claimed(admin, type, max=3, lease_seconds=30)
    assert [task["id"] for task in found] == [tasks[2]["id"], tasks[0]["id"], tasks[3]["id"]]
    first = found[0]
    assert (first["status"], first["assignee"], first["input"], first["lease_seconds"]) == (
        "running",
        "w",
        {"n": 9},
        30,
    )
    path = f"/tasks/{first['id']}"
    held = await admin.post(f"{path}/heartbeat", {"worker_id": "w", "lease_seconds": 60})
    assert (held.status, held.data["worker_id"]) == (200, "w")
    assert held.data["lease_expires_at"] > first["lease_expires_at"]
    assert (await admin.post(f"{path}/heartbeat", {"worker_id": "x"})).status == 409
    assert (await admin.post(f"{path}/complete", {"output": 1, "worker_id": "x"})).status == 409
    assert (await admin.post(f"{path}/complete", {"output": {"done": True}, "worker_id": "w"})).status == 200
    assert (await admin.ended(first["execution_id"]))["results"] == {"said": {"done": True}}
    assert (await admin.post(f"{path}/heartbeat", {"worker_id": "w"})).status == 409


async def test_a_worker_that_waits_gets_the_task_that_comes(admin: Client) -> None:
    type = unique("type")
    waiting = [asyncio.create_task(claimed(admin, type, f"w{n}", wait_seconds=20)) for n in range(3)]
    tasks = [await external(admin, type) for _ in range(3)]
    found = [task["id"] for each in await asyncio.gather(*waiting) for task in each]
    assert sorted(found) == sorted(task["id"] for task in tasks)


async def test_many_workers_never_get_one_task_twice(admin: Client) -> None:
    type = unique("type")
    many = {
        "components": [
            {"id": "start", "type": "start"},
            *({"id": f"t{n}", "type": "external_task", "config": {"task_type": type}} for n in range(30)),
        ],
        "connections": [{"source": "start", "target": f"t{n}"} for n in range(30)],
    }
    execution = await admin.execution((await admin.workflow(many))["id"])
    await task_of(admin, execution, 30)
    rounds = await asyncio.gather(*(claimed(admin, type, f"w{n}", max=4) for n in range(12)))
    ids = [task["id"] for each in rounds for task in each]
    assert (len(ids), len(set(ids))) == (30, 30)


async def test_a_lost_lease_hands_the_task_on_without_spending_a_retry(admin: Client) -> None:
    type = unique("type")
    task = await external(admin, type)
    (first,) = await claimed(admin, type, "dead", lease_seconds=1)
    (second,) = await claimed(admin, type, "alive", wait_seconds=20)
    assert (first["id"], second["id"], second["attempt"]) == (task["id"], task["id"], 1)
    path = f"/tasks/{task['id']}"
    for command, body in (("heartbeat", {}), ("complete", {"output": 1}), ("fail", {"error": "e"}), ("release", {})):
        answer = await admin.post(f"{path}/{command}", body | {"worker_id": "dead"})
        assert (answer.status, answer.errors[0]["details"]["current_status"]) == (409, "running"), command
    assert (await admin.post(f"{path}/complete", {"output": 2, "worker_id": "alive"})).status == 200
    assert (await admin.ended(task["execution_id"]))["results"] == {"said": 2}
    released = next(event for event in await admin.events(types="task.released"))
    assert (released["data"]["reason"], released["data"]["former_assignee"]) == ("lease_expired", "dead")


async def test_a_claim_that_is_cut_short_holds_a_task_for_seconds_only(
    hub: Hub, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task's own lease begins when the claim is in the log."""
    type = unique("type")
    task = await external(admin, type)

    async def cut_short(*_: Any) -> None:
        raise Unavailable("the power is cut")

    with monkeypatch.context() as during:
        during.setattr(hub.services.tasks, "begin", cut_short)
        assert (await admin.post("/tasks/claim", {"types": [type], "worker_id": "dead"})).status == 503
    assert held_for(hub, task) <= 5
    assert await hub.services.store.ledgers.task_leases.renew(task["id"], "dead", 0)
    assert [each["id"] for each in await claimed(admin, type)] == [task["id"]]
    assert held_for(hub, task) > 30


def held_for(hub: Hub, task: dict[str, Any]) -> float:
    """Seconds."""
    file = hub.services.settings.data_dir / "runcast.db"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        ((held,),) = database.execute("SELECT expires_at FROM task_leases WHERE task_id = ?", (task["id"],))
    return seconds_between(hub.services.clock.now(), held)


async def test_a_worker_gives_a_task_back_for_another_at_once(admin: Client) -> None:
    type = unique("type")
    task = await external(admin, type)
    await claimed(admin, type, "tired")
    waiting = asyncio.create_task(claimed(admin, type, "fresh", wait_seconds=20))
    assert (await admin.post(f"/tasks/{task['id']}/release", {"worker_id": "tired"})).data["status"] == "pending"
    assert [each["id"] for each in await waiting] == [task["id"]]


async def test_a_retryable_failure_spends_a_retry_and_opens_another_task(admin: Client) -> None:
    type = unique("type")
    retry = {"max_attempts": 2, "initial_delay_seconds": 0}
    task = await opened(admin, {"task_type": type}, "external_task", retry=retry)
    await claimed(admin, type)
    await admin.post(f"/tasks/{task['id']}/fail", {"error": "again", "retryable": True, "worker_id": "w"})
    (again,) = await claimed(admin, type, wait_seconds=20)
    assert (again["id"] != task["id"], again["attempt"]) == (True, 2)
    await admin.post(f"/tasks/{again['id']}/fail", {"error": "for good", "retryable": True, "worker_id": "w"})
    assert (await admin.ended(task["execution_id"]))["error_message"] == "the task failed: for good"


async def test_one_task_can_be_claimed_by_its_id(admin: Client) -> None:
    task = await external(admin)
    path = f"/tasks/{task['id']}"
    assert (await admin.post(f"{path}/start")).fields == ["worker_id"]
    started = (await admin.post(f"{path}/start", {"worker_id": "w", "lease_seconds": 20})).data
    assert (started["status"], started["assignee"], started["lease_seconds"]) == ("running", "w", 20)
    assert (await admin.post(f"{path}/claim", {"worker_id": "x"})).status == 409
    assert (await admin.post(f"{path}/reassign", {"assignee": "x"})).status == 409


async def test_a_client_that_goes_away_frees_its_place(hub: Hub, admin: Client) -> None:
    waiters, type = hub.services.claims, unique("type")
    waiting = asyncio.create_task(claimed(admin, type, wait_seconds=60))

    async def waits() -> bool:
        return len(waiters) == 1

    async def is_free() -> bool:
        return len(waiters) == 0

    await until(waits)
    waiting.cancel()
    with pytest.raises((asyncio.CancelledError, aiohttp.ClientError)):
        await waiting
    await until(is_free)
    task = await external(admin, type)
    assert [each["id"] for each in await claimed(admin, type)] == [task["id"]]


async def test_a_hub_that_ends_answers_the_workers_that_wait(tmp_path: Path) -> None:
    async with running(tmp_path / "hub") as hub:
        client = await hub.client()
        waiting = asyncio.create_task(claimed(client, "anything", wait_seconds=60))

        async def waits() -> bool:
            return len(hub.services.claims) == 1

        await until(waits)
        hub.services.end_work()
        async with asyncio.timeout(20):
            assert await waiting == []
            assert await claimed(client, "anything", wait_seconds=60) == []


async def test_no_more_than_so_many_wait(hub: Hub, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "MOST_WAITING", 1)
    type = unique("type")
    first = asyncio.create_task(claimed(admin, type, wait_seconds=60))

    async def waits() -> bool:
        return len(hub.services.claims) == 1

    await until(waits)
    more = await admin.post("/tasks/claim", {"types": [type], "worker_id": "w", "wait_seconds": 60})
    assert (more.status, more.codes) == (429, {"RATE_LIMIT_EXCEEDED"})
    task = await external(admin, type)
    assert [each["id"] for each in await first] == [task["id"]]


CLAIM: dict[str, Any] = {"types": ["t"], "worker_id": "w"}


@pytest.mark.parametrize(
    ("command", "body", "fields"),
    [
        ("claim", {}, ["types", "worker_id"]),
        ("claim", CLAIM | {"types": []}, ["types"]),
        ("claim", CLAIM | {"types": ["t"] * 101}, ["types"]),
        ("claim", CLAIM | {"max": 0}, ["max"]),
        ("claim", CLAIM | {"max": 101}, ["max"]),
        ("claim", CLAIM | {"wait_seconds": 61}, ["wait_seconds"]),
        ("claim", CLAIM | {"lease_seconds": 0.5}, ["lease_seconds"]),
        ("claim", CLAIM | {"worker_id": "a\0"}, ["worker_id"]),
        ("claim", CLAIM | {"worker_id": "a\n"}, ["worker_id"]),
        ("claim", CLAIM | {"worker_id": "a" * 256}, ["worker_id"]),
        ("ID/complete", {"notes": "x" * 10_001}, ["notes"]),
        ("ID/complete", {"output": 1, "result": 1}, ["result"]),
        ("ID/fail", {"error": ""}, ["error"]),
        ("ID/reassign", {}, ["assignee"]),
        ("ID/heartbeat", {}, ["worker_id"]),
    ],
)
async def test_bodies_that_are_wrong_are_refused_by_their_fields(
    admin: Client, command: str, body: dict[str, Any], fields: list[str]
) -> None:
    task = await opened(admin, {}) if "ID" in command else {"id": ""}
    answer = await admin.post(f"/tasks/{command.replace('ID', task['id'])}", body)
    assert (answer.status, answer.fields) == (422, fields), answer.body


async def test_an_output_has_limits(admin: Client) -> None:
    task = await opened(admin, {"form": {"items": {"pattern": "a" * 4000}}})
    deep: Any = 1
    for _ in range(110):
        deep = [deep]
    path = f"/tasks/{task['id']}/complete"
    assert (await admin.post(path, {"output": deep})).fields == ["output"]
    large = await admin.post(path, {"output": ["x"] * 100_000})
    assert (large.status, large.codes, large.fields) == (413, {"OUTPUT_TOO_LARGE"}, ["output"])
    assert (await admin.get(f"/tasks/{task['id']}")).data["status"] == "pending"


async def test_secrets_reach_the_worker_and_nobody_else(admin: Client) -> None:
    type, secret = unique("type"), unique("s3cret")
    shape = definition({"task_type": type, "input": {"key": "{{token}}"}}, "external_task")
    shape |= {"parameters": [{"name": "token", "type": "string", "secret": True}]}
    workflow = await admin.workflow(shape)
    execution = await admin.execution(workflow["id"], parameters={"token": secret})
    task = await task_of(admin, execution)
    assert task["input"] == {"key": "[REDACTED]"}
    (found,) = await claimed(admin, type)
    assert found["input"] == {"key": secret}
    given_back = {"worker_id": "w", "reason": f"what is {secret}?"}
    assert (await admin.post(f"/tasks/{found['id']}/release", given_back)).status == 200
    (found,) = await claimed(admin, type)
    body = {"output": {"echo": f"it was {secret}"}, "notes": secret, "worker_id": "w"}
    assert (await admin.post(f"/tasks/{task['id']}/complete", body)).data["output"] == {"echo": "it was [REDACTED]"}
    assert (await admin.ended(execution))["results"] == {"said": {"echo": "it was [REDACTED]"}}
    for path in (f"/tasks/{task['id']}", "/tasks", f"/tasks/{task['id']}/logs", f"/executions/{execution}/history"):
        assert secret.encode() not in (await admin.get(path)).body
    shape = definition({"description": "{{token}}"}) | {"parameters": shape["parameters"]}
    assert (await admin.post("/workflows", {"name": unique("w"), "definition": shape})).status == 422


async def test_tasks_are_listed_by_what_they_are_and_in_pages(admin: Client) -> None:
    tasks = [
        await opened(admin, {"priority": n, "candidates": ["ada"], "due_in_seconds": 100 - n}) for n in (1, 2, 3)
    ]
    other = await external(admin)
    ids = [task["id"] for task in tasks]
    for query, wanted in (
        ({}, [other["id"], *ids[::-1]]),
        ({"kind": "external"}, [other["id"]]),
        ({"kind": "human", "order": "asc"}, ids),
        ({"candidate": "ada", "sort": "priority"}, ids[::-1]),
        ({"candidate": "ada", "sort": "due_at"}, ids[::-1]),
        ({"sort": "due_at"}, [*ids[::-1], other["id"]]),
        ({"priority": "low"}, [ids[2]]),
        ({"task_type": other["task_type"]}, [other["id"]]),
        ({"workflow_id": tasks[0]["workflow_id"]}, [ids[0]]),
        ({"status": "completed"}, []),
        ({"assignee": "nobody"}, []),
    ):
        assert [task["id"] for task in (await admin.get("/tasks", **query)).data] == wanted, query
    for sort in ("priority", "due_at", "created_at", "updated_at"):
        found, cursor = list[str](), None
        while True:
            more = {"cursor": cursor} if cursor else {}
            answer = await admin.get("/tasks", sort=sort, limit=1, **more)
            found += [task["id"] for task in answer.data]
            cursor = answer.metadata["next_cursor"]
            if cursor is None:
                break
        assert sorted(found) == sorted([other["id"], *ids]), sort
    assert (await admin.get("/tasks", sort="colour")).fields == ["sort"]


async def test_nobody_sees_or_claims_what_is_anothers(hub: Hub, admin: Client) -> None:
    other, type = await hub.client(), unique("type")
    task = await external(admin, type)
    assert (await other.get("/tasks")).data == []
    assert await claimed(other, type) == []
    for command, body in (
        ("claim", {}),
        ("start", {"worker_id": "w"}),
        ("heartbeat", {"worker_id": "w"}),
        ("complete", {}),
        ("fail", {"error": "e"}),
        ("retry", {}),
        ("release", {}),
        ("reassign", {"assignee": "a"}),
        ("cancel", {}),
    ):
        assert (await other.post(f"/tasks/{task['id']}/{command}", body)).status == 404, command
    assert (await other.get(f"/tasks/{task['id']}")).status == 404
    assert (await other.get(f"/tasks/{task['id']}/logs")).status == 404


async def test_what_is_too_large_stays_out_of_lists(admin: Client) -> None:
    task = await opened(admin, {})
    text = "x" * 20_000
    done = (await admin.post(f"/tasks/{task['id']}/complete", {"output": text})).data
    assert (done["output"], done["omitted"]) == (text, [])
    (listed,) = (await admin.get("/tasks")).data
    assert (listed["output"], listed["omitted"]) == (None, ["output"])


async def test_whoever_listens_to_a_task_or_an_assignee_hears_of_it_from_any_position(
    hub: Hub, admin: Client
) -> None:
    other = await opened(admin, {"assignee": "eve"})
    task = await opened(admin, {"assignee": "ada"})
    path, headers = f"/tasks/{task['id']}", {"X-API-Key": admin.key or ""}
    async with hub.http.ws_connect(f"{hub.url}/api/v1/ws", headers=headers) as socket:
        await admin.post(f"{path}/reassign", {"assignee": "bob"})

        async def heard(channel: dict[str, Any], count: int) -> list[tuple[str, str]]:
            """The first messages of a channel from its beginning on."""
            said = {"channel": "task", "since": 0} | channel
            await socket.send_json({"type": "subscribe", "data": said})
            found: list[tuple[str, str]] = []
            async with asyncio.timeout(20):
                while len(found) < count:
                    message = await socket.receive_json()
                    assert message["type"] in ("welcome", "subscribed", "task_update"), message
                    if message["type"] == "task_update":
                        assert message["channel"] == f"task:{message['data']['task_id']}"
                        found.append((message["data"]["event"], message["data"]["assignee"]))
            await socket.send_json({"type": "unsubscribe", "data": {"channel": "task"} | channel})
            while (await socket.receive_json())["type"] != "unsubscribed":
                pass
            return found

        of_ada = [("task.assigned", "ada"), ("task.reassigned", "bob")]
        assert await heard({"assignee": "ada"}, 2) == of_ada
        assert await heard({"task_id": task["id"]}, 3) == [("task.created", None), *of_ada]
        await admin.post(f"{path}/complete", {"output": 1, "assignee": "bob"})
        assert await heard({"assignee": "bob"}, 2) == [("task.reassigned", "bob"), ("task.completed", "bob")]
        assert await heard({"task_id": other["id"]}, 2) == [("task.created", None), ("task.assigned", "eve")]
        assert len(await heard({"task_id": "*"}, 6)) == 6
    stranger = await hub.client()
    async with hub.http.ws_connect(f"{hub.url}/api/v1/ws", headers={"X-API-Key": stranger.key or ""}) as socket:
        await socket.send_json({"type": "subscribe", "data": {"channel": "task", "task_id": task["id"]}})
        answers = [await socket.receive_json() for _ in range(2)]
        assert answers[1]["data"]["code"] == "RESOURCE_NOT_FOUND"


async def test_each_turn_of_a_loop_has_a_task_of_its_own(admin: Client) -> None:
    body = {
        "components": [
            {"id": "start", "type": "start"},
            {"id": "ask", "type": "human_task", "config": {"title": "Check ${word}"}},
        ],
        "connections": [{"source": "start", "target": "ask"}],
    }
    loop = {"items": ["a", "b", "c"], "as": "word", "max_concurrency": 2, "body": body}
    shape = {
        "components": [{"id": "start", "type": "start"}, {"id": "each", "type": "loop", "config": loop}],
        "connections": [{"source": "start", "target": "each"}],
    }
    execution = await admin.execution((await admin.workflow(shape))["id"])
    titles: list[str] = []

    async def waiting() -> Any:
        return (await admin.get("/tasks", execution_id=execution, status="pending", order="asc")).data

    for _ in range(3):
        task = (await until(waiting))[0]
        titles.append(task["title"])
        assert (await admin.post(f"/tasks/{task['id']}/complete", {"output": task["iteration"]})).status == 200
    run = await admin.ended(execution)
    assert run["results"] == {"each": {"results": [{"ask": "0"}, {"ask": "1"}, {"ask": "2"}]}}, run["error_message"]
    assert sorted(titles) == ["Check a", "Check b", "Check c"]


async def test_many_tasks_of_one_run_end_at_once(admin: Client) -> None:
    many = {"items": list(range(60)), "max_concurrency": 60}
    many |= {"body": {"components": [{"id": "do", "type": "external_task", "config": {"task_type": unique("type")}}]}}
    shape = {
        "components": [{"id": "start", "type": "start"}, {"id": "each", "type": "loop", "config": many}],
        "connections": [{"source": "start", "target": "each"}],
    }
    execution = await admin.execution((await admin.workflow(shape))["id"])
    type = (await task_of(admin, execution, 60))["task_type"]
    found = await claimed(admin, type, max=60)
    done = [admin.post(f"/tasks/{task['id']}/complete", {"output": 1, "worker_id": "w"}) for task in found]
    assert [answer.status for answer in await asyncio.gather(*done)] == [200] * 60
    run = await admin.ended(execution)
    assert run["results"] == {"each": {"results": [{"do": 1}] * 60}}


async def test_a_task_that_would_say_too_much_is_not_opened(admin: Client) -> None:
    parts = {f"p{number}": f"${{workflow.input.text}}{number}" for number in range(3)}
    workflow = await admin.workflow(definition({"data": parts}))
    execution = await admin.execution(workflow["id"], parameters={"text": "x" * 400_000})
    run = await admin.ended(execution)
    assert (run["status"], run["error"]["code"]) == ("failed", "OUTPUT_TOO_LARGE")
    assert (await admin.get("/tasks", execution_id=execution)).data == []
