"""`runcast events replay`, beside a hub in this process that answers commands, and without one."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from executor.clock import SystemClock
from hub import control, replay_watch
from hub.cli import app
from hub.keys import organization_named
from hub.operator import OperatorError, Site, asked, served_by
from hub.settings import Settings
from hub.wiring import opened_store
from tests.integration.hubs import COMMAND, Client, Hub, Ran, end, environment, unique, until
from tests.integration.receiving import Receiver, receiving

pytestmark = pytest.mark.asyncio(loop_scope="session")

JOB = re.compile(r"replay (\w{26}) of positions \d+ through \d+\n")
NOBODY = "01HQ0000000000000000000000"
ALL: dict[str, Any] = {
    **dict.fromkeys(("organization", "webhook_id", "first", "last", "execution_id", "workflow_id")),
    "types": [],
}


@pytest_asyncio.fixture(loop_scope="session")
async def door(hub: Hub) -> AsyncIterator[Settings]:
    """The hub answers commands; its settings."""
    of = hub.services
    site = Site(of.settings, of.store, of.clock, of.secret_key, is_served=True)
    async with control.served(of.settings.data_dir, served_by(lambda: site)):
        yield of.settings


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


async def replay(door: Settings, *arguments: str, interrupted: asyncio.Event | None = None) -> Ran:
    """`runcast events replay` with these arguments; Ctrl-C comes when it is `interrupted`."""
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "events", "replay", *arguments, "--data-dir", str(door.data_dir)),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            if interrupted is not None:
                await interrupted.wait()
                process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
    finally:
        await end(process)
    return Ran(process.returncode or 0, out.decode(), err.decode())


async def test_to_a_webhook_until_it_has_ended(door: Settings, admin: Client, receiver: Receiver) -> None:
    webhook = await admin.webhook(receiver.url, "workflow.*")
    workflow = await admin.workflow()
    await until(lambda: _is(len(receiver.arrived) == 1))
    ran = await replay(door, "--webhook", webhook["id"], "--workflow", workflow["id"])
    assert (ran.code, ran.out) == (0, "completed, 1 events sent\n"), ran.err
    found = JOB.search(ran.err)
    assert found
    assert [got.json.get("replay") for got in receiver.arrived] == [None, found[1]]


async def _is(it: bool) -> bool:
    return it


async def test_ctrl_c_leaves_it_running_and_says_how_to_cancel(
    door: Settings, admin: Client, receiver: Receiver
) -> None:
    receiver.always = 500
    webhook, has_arrived = await admin.webhook(receiver.url, "*"), asyncio.Event()
    running = asyncio.create_task(replay(door, "--webhook", webhook["id"], interrupted=has_arrived))
    await until(lambda: _is(bool(receiver.arrived)))
    has_arrived.set()
    ran = await running
    found = JOB.search(ran.err)
    assert found
    id = found[1]
    assert (ran.code, ran.out) == (1, "")
    assert f"the replay goes on without this command; 'runcast events replay --cancel {id}' ends it" in ran.err
    assert (await admin.get(f"/events/replay/{id}")).data["status"] == "running"
    assert (await asked(door, "cancel_replay", id=id))["replay"]["status"] == "cancelled"
    assert (await admin.get(f"/events/replay/{id}")).data["status"] == "cancelled"
    with pytest.raises(OperatorError, match="the replay is cancelled already"):
        await asked(door, "cancel_replay", id=id)


async def test_followed_it_prints_its_events_marked(
    door: Settings, admin: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow = await admin.workflow()
    wish = ALL | {"organization": admin.organization_id, "types": ["workflow.*"]}
    answer = await asked(door, "start_replay", **wish)
    job = answer["replay"]
    assert job["channel"] == f"replay:{job['id']}"
    capsys.readouterr()
    await replay_watch.print_events(door, job, answer["organization_id"])
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith('{"position"')]
    wanted = await admin.events(workflow_id=workflow["id"])
    assert printed == [event | {"replay": job["id"]} for event in wanted]


@pytest.mark.parametrize(
    ("wish", "word"),
    [
        ({}, "say --organization: "),
        ({"webhook_id": NOBODY}, f"webhook '{NOBODY}' was not found"),
        ({"organization": "elsewhere"}, "organization 'elsewhere' was not found"),
        ({"first": "soon"}, "from: is not a time"),
        ({"types": ["nothing.*"]}, "no type of event matches 'nothing.*'"),
    ],
)
async def test_what_makes_no_sense_is_refused(door: Settings, admin: Client, wish: dict[str, Any], word: str) -> None:
    await admin.workflow()
    whose = {} if wish.keys() & {"webhook_id"} or not wish else {"organization": admin.organization_id}
    with pytest.raises(OperatorError, match=re.escape(word)):
        await asked(door, "start_replay", **ALL | whose | wish)
    with pytest.raises(OperatorError, match=f"replay '{NOBODY}' was not found"):
        await asked(door, "cancel_replay", id=NOBODY)
    assert (await admin.get("/events/replay")).data == []


async def test_where_no_hub_runs_it_waits_for_one(tmp_path: Path) -> None:
    settings, clock = Settings(data_dir=tmp_path / "data"), SystemClock()
    async with opened_store(settings, clock) as (store, key):
        await organization_named(store, clock, key, unique("organization"))
    answer = await asked(settings, "start_replay", **ALL)
    assert (answer["replay"]["status"], answer["is_served"]) == ("pending", False)
    with pytest.raises(replay_watch.NobodyRuns):
        await replay_watch.ended(settings, answer["replay"]["id"], lambda done, total: None)


@pytest.mark.parametrize("arguments", [(), ("--follow", "--cancel", NOBODY), ("--webhook", NOBODY, "--follow")])
async def test_one_thing_at_a_time(arguments: tuple[str, ...]) -> None:
    ran = CliRunner().invoke(app, ["events", "replay", *arguments])
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr == "runcast: say one of --webhook ID, --follow, --cancel ID\n"
