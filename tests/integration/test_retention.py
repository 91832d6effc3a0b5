"""What ended long ago goes to files and out of the log, which still proves; and whoever asks for it is told."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import connect

from executor.ports import Stored
from hub.retention import Archivist, Report
from storage.retention import read
from tests.integration.carrying import task_of
from tests.integration.forgetting import FORGETFUL
from tests.integration.hubs import ROOT, WAITING, Client, Hub, environment, runcast, running, until, up
from tests.integration.receiving import receiving
from tests.integration.streaming import streaming

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    *FORGETFUL,
]


SECRET = {"components": [{"id": "start", "type": "start"}], "parameters": [{"name": "token", "secret": True}]}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hub]:
    """A hub of its own: to archive is to archive everybody's."""
    async with running(tmp_path_factory.mktemp("archiving")) as hub:
        yield hub


async def archive(hub: Hub, *ids: str) -> Report:
    """Archives all that ended, once nothing waits for these any more."""
    services, total = hub.services, Report()

    async def are_archived() -> bool:
        nonlocal total
        archivist = Archivist(services.store, services.clock, services.settings.archive)
        total += await archivist.run(services.clock.now())
        retention = services.store.ledgers.retention
        return all([await retention.get(id) is not None for id in ids])

    await until(are_archived)
    return total


async def finished(client: Client, **fields: Any) -> str:
    """An execution that ended."""
    workflow = await client.workflow(**fields)
    id = await client.execution(workflow["id"])
    await client.ended(id)
    return id


async def stored(hub: Hub) -> list[Stored]:
    found: list[Stored] = []
    while page := await hub.services.store.log.scan(found[-1].position if found else 0):
        found += page
    return found


async def test_what_was_archived_is_in_a_file_exactly_as_it_stood(hub: Hub, admin: Client) -> None:
    workflow = await admin.workflow(SECRET)
    id = await admin.execution(workflow["id"], parameters={"token": "hush"})
    await admin.ended(id)
    before = [event for event in await stored(hub) if event.stream == f"execution:{id}"]
    report = await archive(hub, id)
    kept = await hub.services.store.ledgers.retention.get(id)
    assert kept is not None
    path = hub.services.settings.archive / kept.file
    assert str(path) in report.files
    assert kept.file.startswith(f"{kept.archived_at[:10]}-{admin.organization_id}-")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    found = read(path)
    assert [event for event in found if event.execution_id == id] == before
    assert {event.organization_id for event in found} == {admin.organization_id}
    assert any(b"sealed:v1:" in event.data for event in before)
    assert not any(b"hush" in event.data for event in found)
    assert [file for file in path.parent.iterdir() if file.name.startswith(".")] == []


async def test_the_log_still_proves_and_keeps_every_envelope(hub: Hub, admin: Client) -> None:
    id = await finished(admin)
    before = await stored(hub)
    await archive(hub, id)
    after = await stored(hub)
    mine = [number for number, event in enumerate(before) if event.execution_id == id]
    assert [after[number] for number in mine] == [before[number]._replace(data=b"") for number in mine]
    assert (await hub.services.store.log.verify()).position >= len(after)


async def test_whoever_asks_for_it_is_told_where_it_is(hub: Hub, admin: Client) -> None:
    id = await finished(admin)
    position = (await admin.events(execution_id=id))[0]["position"]
    await archive(hub, id)
    kept = await hub.services.store.ledgers.retention.get(id)
    assert kept is not None
    for path in ("", "/components", "/history", "/logs", f"?at={position}", f"/components?at={position}"):
        answer = await admin.get(f"/executions/{id}{path}")
        assert (answer.status, answer.codes) == (404, {"RESOURCE_NOT_FOUND"}), path
        assert kept.file in answer.errors[0]["message"]
        assert answer.errors[0]["details"] == {"archived_at": kept.archived_at, "file": kept.file}
    assert (await admin.get("/events/stream", execution_id=id)).errors[0]["details"]["file"] == kept.file
    answer = await admin.get(f"/executions/{id}/diff", **{"from": position})
    assert (answer.status, answer.errors[0]["details"]["file"]) == (404, kept.file)
    assert (await admin.post(f"/executions/{id}/cancel")).status == 404
    assert id not in [each["id"] for each in (await admin.get("/executions")).data]
    stranger = await (await hub.client()).get(f"/executions/{id}")
    assert stranger.status == 404
    assert "archived" not in stranger.errors[0]["message"]


async def test_its_events_are_listed_without_their_data(hub: Hub, admin: Client) -> None:
    id, kept = await finished(admin), await finished(admin)
    before = await admin.events(execution_id=id)
    workflow_id = before[0]["workflow_id"]
    running_id = await admin.execution((await admin.workflow(WAITING))["id"])
    await archive(hub, id, kept)
    after = await admin.events(execution_id=id)
    assert after == [event | {"data": None, "archived": True} for event in before]
    one = (await admin.get(f"/events/{before[0]['position']}")).data
    assert (one["data"], one["archived"]) == (None, True)
    for event in await admin.events(workflow_id=workflow_id):
        assert ("archived" in event) is (event["execution_id"] is not None)
    assert all("archived" not in event for event in await admin.events(execution_id=running_id))
    assert (await admin.get(f"/executions/{running_id}")).status == 200
    await admin.post(f"/executions/{running_id}/cancel")


async def test_a_stream_from_a_position_that_is_still_in_memory_has_it_without_data_too(
    hub: Hub, admin: Client
) -> None:
    id = await finished(admin)
    since = (await admin.events(execution_id=id))[0]["position"] - 1
    await archive(hub, id)
    after = await admin.events(after=since)
    assert after[0]["archived"] is True
    async with streaming(admin, since=since) as source:
        sent = await source.take(len(after))
    assert [each.data for each in sent] == after


async def test_stats_of_a_workflow_are_the_same_after(hub: Hub, admin: Client) -> None:
    workflow = await admin.workflow()
    ids = [await admin.execution(workflow["id"]) for _ in range(3)]
    for id in ids:
        await admin.ended(id)
    path = f"/workflows/{workflow['id']}"
    before = (await admin.get(path, include_stats="true")).data
    assert before["execution_count"] == 3
    await archive(hub, *ids)
    assert (await admin.get(path, include_stats="true")).data == before
    assert (await admin.get(f"{path}/executions")).data == []
    assert (await admin.delete(path)).status == 200


async def test_nothing_is_archived_that_runs_or_that_a_delivery_waits_for(hub: Hub, admin: Client) -> None:
    webhook = await admin.webhook("http://127.0.0.1:2/", "execution.completed")
    awaited = await finished(admin)
    live = await admin.execution((await admin.workflow(WAITING))["id"])

    async def is_delivered() -> bool:
        found = (await admin.get(f"/webhooks/{webhook['id']}/deliveries")).data
        return bool(found)

    await until(is_delivered)
    other = await finished(await hub.client())
    await archive(hub, other)
    for id in (awaited, live):
        assert (await admin.get(f"/executions/{id}")).status == 200
    await admin.delete(f"/webhooks/{webhook['id']}")
    await admin.post(f"/executions/{live}/cancel")
    await archive(hub, awaited, live)


async def test_a_second_run_finds_nothing_and_writes_nothing(hub: Hub, admin: Client) -> None:
    await archive(hub, await finished(admin))
    files = sorted(hub.services.settings.archive.iterdir())
    assert await archive(hub) == Report()
    assert sorted(hub.services.settings.archive.iterdir()) == files


async def test_two_at_once_leave_one_alone(hub: Hub, admin: Client) -> None:
    await hub.services.store.ledgers.leases.take("retention", "another", 60)
    ran = await runcast_beside(hub, "--older-than", "0s")
    assert ran == (1, "", "runcast: executions are being archived already; try again when that is done\n")
    await hub.services.store.ledgers.leases.drop("retention", "another")


async def runcast_beside(hub: Hub, *arguments: str) -> tuple[int, str, str]:
    """The command's own wish, in this process, where the hub has no control socket."""
    from hub.operator import COMMANDS, Site
    from hub.retention import seconds_of

    services = hub.services
    site = Site(services.settings, services.store, services.clock, services.secret_key)
    try:
        await COMMANDS["archive"](site, older_than=seconds_of(arguments[1]), directory=None, is_dry=False)
    except Exception as error:
        return 1, "", f"runcast: {error}\n"
    return 0, "", ""


async def heard(hub: Hub, client: Client, **wish: Any) -> tuple[bool, list[dict[str, Any]]]:
    """Whether a subscription is recovered, and what it hears up to a ping's answer."""
    url = f"{hub.url.replace('http', 'ws')}/api/v1/ws?token={client.key}"
    async with connect(url, proxy=None) as socket, asyncio.timeout(20):
        assert json.loads(await socket.recv())["type"] == "welcome"
        await socket.send(json.dumps({"type": "subscribe", "id": "1", "data": wish}))
        subscribed = json.loads(await socket.recv())
        assert subscribed["type"] == "subscribed", subscribed
        messages: list[dict[str, Any]] = []
        head = subscribed["data"]["head"]
        while True:
            await socket.send(json.dumps({"type": "ping", "id": "2"}))
            while (message := json.loads(await socket.recv()))["type"] != "pong":
                messages.append(message)
            if message["data"]["position"] >= head:
                return subscribed["data"]["recovered"], messages


async def test_a_channel_that_lost_something_says_so(hub: Hub, admin: Client) -> None:
    gone, kept = await finished(admin), await finished(admin, name="kept")
    events = await admin.events(execution_id=gone)
    workflow_id, last = events[0]["workflow_id"], events[-1]["position"]
    other_workflow = (await admin.events(execution_id=kept))[0]["workflow_id"]
    # The younger one is not old enough.
    until_then = (await admin.get(f"/executions/{kept}")).data["completed_at"]
    services = hub.services

    async def is_archived() -> bool:
        await Archivist(services.store, services.clock, services.settings.archive).run(until_then)
        return await services.store.ledgers.retention.get(gone) is not None

    await until(is_archived)
    assert await services.store.ledgers.retention.get(kept) is None
    for wish, expected in (
        ({"channel": "execution", "execution_id": gone}, False),
        ({"channel": "execution", "execution_id": kept}, True),
        ({"channel": "execution", "execution_id": "*"}, False),
        ({"channel": "workflow", "workflow_id": workflow_id}, False),
        ({"channel": "workflow", "workflow_id": other_workflow}, True),
        ({"channel": "workflow", "workflow_id": "*"}, False),
        ({"channel": "events"}, False),
    ):
        recovered, messages = await heard(hub, admin, since=0, **wish)
        assert recovered is expected, wish
        assert (await heard(hub, admin, since=last, **wish))[0] is True, wish
        assert (await heard(hub, admin, **wish))[0] is True, wish
        if wish["channel"] == "events":
            whole = {message["position"]: message["data"] for message in messages}
            assert all(whole[event["position"]]["data"] is None for event in events)
        else:
            positions = {message["position"] for message in messages}
            assert not positions & {event["position"] for event in events}
    stranger = await hub.client()
    assert (await heard(hub, stranger, since=0, channel="events"))[0] is True


async def test_by_age_a_hub_archives_by_itself(tmp_path: Path) -> None:
    async with running(tmp_path) as hub:
        admin = await hub.client("acme")
        id = await finished(admin)
        fanned_out = hub.services.store.ledgers.deliveries

        async def has_passed() -> bool:
            return await fanned_out.checkpoint("fanout") >= hub.head

        await until(has_passed)
    async with running(tmp_path, retention_days=0.000_001, archive_dir=tmp_path / "old") as hub:
        admin = await hub.client("acme")

        async def is_archived() -> bool:
            return (await admin.get(f"/executions/{id}")).status == 404

        await until(is_archived)
        assert len(list((tmp_path / "old").iterdir())) == 1


async def ran_executions(data_dir: Path, count: int = 2) -> list[str]:
    """A hub's data with some executions that ended and that the fan-out has passed; no hub runs any more."""
    async with running(data_dir) as hub:
        admin = await hub.client("acme")
        ids = [await finished(admin) for _ in range(count)]

        async def has_passed() -> bool:
            return await hub.services.store.ledgers.deliveries.checkpoint("fanout") >= hub.head

        await until(has_passed)
    return ids


def altered(data_dir: Path, sql: str, *params: Any) -> None:
    with sqlite3.connect(data_dir / "runcast.db") as db:
        assert db.execute(sql, params).rowcount > 0
    db.close()


async def archived_by_hand(data_dir: Path) -> str:
    """What the command says; a lease that a dead one left runs out in some seconds."""

    async def is_done() -> str | None:
        ran = await runcast("retention", "run", "--older-than", "0s", "--data-dir", data_dir)
        assert ran.code == 0 or "archived already" in ran.err, ran
        return ran.out if ran.code == 0 else None

    said: str = await until(is_done, 60)
    return said


@pytest.mark.parametrize("moment", ["written", "half"])
async def test_killed_between_the_file_and_the_blanking_nothing_is_lost(tmp_path: Path, moment: str) -> None:
    await ran_executions(tmp_path)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.archive_child", str(tmp_path), moment),
        env=environment(),
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await child.wait() == -signal.SIGKILL
    (first,) = (tmp_path / "archive").iterdir()
    with sqlite3.connect(tmp_path / "runcast.db") as db:
        blank = {stream for (stream,) in db.execute("SELECT DISTINCT stream FROM events WHERE data = x''")}
        listed = {f"execution:{id}" for (id,) in db.execute("SELECT execution_id FROM archived_executions")}
    db.close()
    assert blank == listed
    assert len(blank) == (0 if moment == "written" else 1)
    in_file = {event.stream for event in read(first)}
    assert len(in_file) == 2
    said = await archived_by_hand(tmp_path)
    assert said.startswith(f"{2 - len(blank)} execution")
    rest = {event.stream for path in (tmp_path / "archive").iterdir() if path != first for event in read(path)}
    assert rest == in_file - blank
    assert (await runcast("events", "verify", "--data-dir", tmp_path)).code == 0


async def test_an_archived_envelope_that_was_altered_is_found(tmp_path: Path) -> None:
    id, _ = await ran_executions(tmp_path)
    await archived_by_hand(tmp_path)
    assert (await runcast("events", "verify", "--data-dir", tmp_path)).code == 0
    altered(tmp_path, "UPDATE events SET type = 'execution.failed' WHERE execution_id = ? AND version = 1", id)
    ran = await runcast("events", "verify", "--data-dir", tmp_path)
    assert ran.code == 1
    assert "hash does not follow" in ran.out


async def test_data_that_was_altered_is_not_blanked_which_would_hide_it(tmp_path: Path) -> None:
    id, other = await ran_executions(tmp_path)
    altered(tmp_path, "UPDATE events SET data = x'7b7d' WHERE execution_id = ? AND version = 1", id)
    ran = await runcast("retention", "run", "--older-than", "0s", "--data-dir", tmp_path)
    assert ran.code == 1
    assert id in ran.err
    assert other not in ran.err
    assert ran.out.startswith("1 execution ")
    ran = await runcast("events", "verify", "--data-dir", tmp_path)
    assert (ran.code, "its digest" in ran.out) == (1, True)


async def test_the_command_beside_a_hub_and_without_one(tmp_path: Path) -> None:
    data_dir, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    ids = await ran_executions(data_dir)
    dry = await runcast("retention", "run", "--older-than", "0s", "--dry-run", "--data-dir", data_dir)
    assert (dry.code, dry.out) == (0, f"2 executions with {await count_of(data_dir)} events would be archived\n")
    young = await runcast("retention", "run", "--older-than", "1h", "--data-dir", data_dir)
    assert (young.code, young.out) == (0, "0 executions with 0 events archived\n")
    async with up(data_dir) as hub:
        arguments = ("retention", "run", "--older-than", "0s", "--archive-dir", str(elsewhere))
        ran = await runcast(*arguments, "--data-dir", data_dir)
        assert ran.code == 0, ran
        summary, file = ran.out.splitlines()
        assert summary.startswith("2 executions with ")
        assert {event.execution_id for event in read(Path(file))} == set(ids)
        assert Path(file).parent == elsewhere
        assert (await runcast("events", "verify", "--data-dir", data_dir)).code == 0
        listed = await runcast("events", "list", "--execution", ids[0], "--data-dir", data_dir)
        assert all(json.loads(line)["archived"] for line in listed.out.splitlines())
        assert await hub.stop() == 0
    assert not (data_dir / "archive").exists()


async def count_of(data_dir: Path) -> int:
    with sqlite3.connect(data_dir / "runcast.db") as db:
        (count,) = db.execute("SELECT count(*) FROM events WHERE execution_id IS NOT NULL").fetchone()
    db.close()
    return int(count)


@pytest.mark.parametrize(
    ("arguments", "settings", "word"),
    [
        ((), {}, "RUNCAST_RETENTION_DAYS"),
        (("--older-than", "90"), {}, "90d"),
        (("--older-than", "-1d"), {}, "between"),
        (("--older-than", "nand"), {}, "between"),
        (("--older-than", "1e9d"), {}, "between"),
        (("--older-than", ""), {}, "90d"),
        (("--older-than", "1d"), {"RETENTION_DAYS": "0"}, "RUNCAST_RETENTION_DAYS"),
        (("--older-than", "1d"), {"RETENTION_DAYS": "soon"}, "RUNCAST_RETENTION_DAYS"),
    ],
)
async def test_what_is_no_age_is_refused(
    tmp_path: Path, arguments: tuple[str, ...], settings: dict[str, str], word: str
) -> None:
    ran = await runcast("retention", "run", *arguments, "--data-dir", tmp_path / "none", **settings)
    assert ran.code == 2
    assert word in ran.err
    assert not (tmp_path / "none").exists()


async def test_where_there_is_no_hub_none_is_made(tmp_path: Path) -> None:
    for arguments in (("retention", "run", "--older-than", "1d"), ("organizations", "list")):
        ran = await runcast(*arguments, "--data-dir", tmp_path / "none")
        assert (ran.code, ran.out) == (1, "")
        assert "there is no hub's data" in ran.err
    assert not (tmp_path / "none").exists()


async def test_a_directory_that_cannot_be_written_blanks_nothing(tmp_path: Path) -> None:
    data_dir, in_the_way = tmp_path / "data", tmp_path / "file"
    await ran_executions(data_dir)
    in_the_way.write_text("")
    arguments = ("retention", "run", "--older-than", "0s", "--archive-dir", in_the_way)
    ran = await runcast(*arguments, "--data-dir", data_dir)
    assert ran.code == 1
    assert str(in_the_way) in ran.err
    with sqlite3.connect(data_dir / "runcast.db") as db:
        assert db.execute("SELECT count(*) FROM events WHERE data = x''").fetchone() == (0,)
    db.close()


async def test_what_was_archived_is_left_out_of_replays(hub: Hub, admin: Client) -> None:
    gone, kept = await finished(admin), await admin.workflow()
    await archive(hub, gone)
    events = await admin.events(types="workflow.*,execution.*,component.*")
    assert {event["execution_id"] for event in events if event.get("archived")} == {gone}
    left = [event for event in events if not event.get("archived")]
    assert left[-1]["workflow_id"] == kept["id"]
    async with receiving() as receiver:
        webhook = await admin.webhook(receiver.url, "workflow.*", "execution.*")
        for target in ("channel", {"webhook_id": webhook["id"]}):
            body = {"target": target, "types": ["workflow.*", "execution.*"], "to": events[-1]["position"]}
            id = (await admin.post("/events/replay", body)).data["id"]
            job = await until(lambda id=id: _completed(admin, id))  # type: ignore[misc]
            assert job["progress"]["total"] == len(left)
        assert [got.json["event_id"] for got in receiver.arrived] == [event["id"] for event in left]


async def test_its_deliveries_go_with_it_and_are_not_made_again(hub: Hub, admin: Client) -> None:
    async with receiving() as receiver:
        webhook = await admin.webhook(receiver.url, "execution.completed")
        gone = await finished(admin)

        async def delivered() -> Any:
            return (await admin.get("/deliveries", webhook_id=webhook["id"], status="succeeded")).data

        (delivery,) = await until(delivered)
        await archive(hub, gone)
        assert (await admin.get(f"/deliveries/{delivery['id']}")).status == 404
        assert (await admin.get(f"/webhooks/{webhook['id']}/deliveries")).data == []
        assert (await admin.get(f"/webhooks/{webhook['id']}/stats")).data["succeeded"] == 1
        recovery = await admin.post(f"/webhooks/{webhook['id']}/recover", {"since": 0, "what": "undelivered"})
        job = await until(lambda: _completed(admin, recovery.data["id"]))
        assert job["progress"]["processed"] == 0
        assert len(receiver.arrived) == 1


async def _completed(client: Client, id: str) -> Any:
    job = (await client.get(f"/events/replay/{id}")).data
    return job if job["status"] == "completed" else None


async def test_an_executions_tasks_go_with_it(hub: Hub, admin: Client) -> None:
    asking = {"components": [*WAITING["components"][:1], {"id": "wait", "type": "human_task"}]}
    workflow = await admin.workflow(asking | {"connections": WAITING["connections"]})
    id, other = await admin.execution(workflow["id"]), await admin.execution(workflow["id"])
    task, kept_task = await task_of(admin, id), await task_of(admin, other)
    await admin.post(f"/tasks/{task}/complete", {"output": "what she said"})
    await admin.ended(id)
    before = [event for event in await stored(hub) if event.execution_id == id]
    assert {event.stream for event in before} == {f"execution:{id}", f"task:{task}"}
    await archive(hub, id)
    kept = await hub.services.store.ledgers.retention.get(id)
    assert kept is not None
    found = read(hub.services.settings.archive / kept.file)
    assert [event for event in found if event.execution_id == id] == before
    assert all(event.data == b"" for event in await stored(hub) if event.execution_id == id)
    assert [each["id"] for each in (await admin.get("/tasks")).data] == [kept_task]
    assert (await admin.get(f"/tasks/{task}")).status == 404
    assert (await admin.post(f"/tasks/{kept_task}/cancel")).status == 200
