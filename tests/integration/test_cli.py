"""The command on its own: what it says of itself, what it refuses, and what it does where no hub runs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
from pathlib import Path

import pytest

from executor.clock import SystemClock
from executor.ports import Metadata
from hub.auth.apikeys import new_key
from hub.keys import create_key
from hub.settings import Settings
from hub.wiring import opened_store
from tests.integration.hubs import COMMAND, Ran, environment, runcast

KEY = re.compile(r"sk_live_[A-Za-z0-9]{32}\n")


def refused(ran: Ran, *words: str) -> None:
    """One line that says why, and no traceback."""
    assert ran.code != 0
    assert ran.out == ""
    (line,) = ran.err.strip().splitlines()
    assert line.startswith("runcast: ")
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", ("up", "demo", "events", "keys", "RUNCAST_", "--version")),
        ("up", ("--host", "127.0.0.1", "--port", "8000", "--data-dir", "runcast-data", "Ctrl-C", "credentials.json")),
        ("demo", ("--keep", "webhook")),
        ("web", ("PostgreSQL",)),
        ("executor", ("PostgreSQL",)),
        ("worker", ("PostgreSQL",)),
        ("events", ("list", "verify")),
        ("events list", ("--since", "--types", "--execution", "--workflow", "--limit", "NDJSON", "--data-dir")),
        ("events verify", ("exits 1", "--from", "--to", "--data-dir")),
        ("keys", ("create",)),
        (
            "keys create",
            ("--name", "--organization", "--role", "--permission", "--expires-at", "admin", "--data-dir"),
        ),
    ],
)
async def test_help_says_what_a_stranger_needs(command: str, words: tuple[str, ...]) -> None:
    ran = await runcast(*command.split(), "--help")
    assert (ran.code, ran.err) == (0, "")
    text = " ".join(ran.out.split()).replace("runcast- data", "runcast-data")
    assert "Usage:" in text
    for word in words:
        assert word in text


async def test_version() -> None:
    ran = await runcast("--version")
    assert (ran.code, ran.out) == (0, "runcast 0.1.0\n")


@pytest.mark.parametrize("arguments", [["fly"], ["up", "--fast"], ["up", "--port", "x"], ["keys", "create"]])
async def test_what_the_command_does_not_know_is_a_2(arguments: list[str]) -> None:
    ran = await runcast(*arguments)
    assert ran.code == 2
    assert "Traceback" not in ran.err
    assert "Error: " in ran.err


async def test_every_wrong_setting_is_named_at_once(tmp_path: Path) -> None:
    ran = await runcast(
        *("up", "--data-dir", tmp_path),
        PORT="eighty",
        DATABASE_URL="mysql://user:hunter2@host/",
        REDIS_URL="memory://",
        BOOTSTRAP_API_KEY="sk_live_hunter2",
        LOG_LEVEL="loud",
        EGRESS_ALLOW="10.0.0.0/8,1.2.3",
        MAX_BODY_BYTES="1",
    )
    assert (ran.code, ran.out) == (2, "")
    named = [line.partition(":")[0] for line in ran.err.splitlines()[1:]]
    assert sorted(named) == [
        f"RUNCAST_{name}"
        for name in (
            *(
                "BOOTSTRAP_API_KEY",
                "DATABASE_URL",
                "EGRESS_ALLOW",
                "LOG_LEVEL",
                "MAX_BODY_BYTES",
                "PORT",
                "REDIS_URL",
            ),
        )
    ]
    assert "hunter2" not in ran.err
    assert os.listdir(tmp_path) == []


async def test_a_port_that_is_none_is_refused(tmp_path: Path) -> None:
    ran = await runcast("up", "--port", "70000", "--data-dir", tmp_path)
    assert ran.code == 2
    assert "70000" in ran.err


@pytest.mark.parametrize("role", ["web", "executor", "worker"])
async def test_a_role_by_itself_is_refused_with_the_reason(role: str) -> None:
    refused(await runcast(role), role, "SQLite", "runcast up")
    ran = await runcast(role, DATABASE_URL="postgresql://u:hunter2@h/db")
    refused(ran, role, "RUNCAST_REDIS_URL", "runcast up")
    assert "hunter2" not in ran.err


async def test_a_database_that_does_not_answer_is_said_without_its_password(tmp_path: Path) -> None:
    url = "postgresql://u:hunter2@127.0.0.1:1/db"
    for command in (("up",), ("web",), ("executor",), ("worker",), ("keys", "create", "--name", "n")):
        ran = await runcast(*command, "--data-dir", tmp_path, DATABASE_URL=url, REDIS_URL="redis://127.0.0.1:1")
        refused(ran, "the database does not answer")
        assert "hunter2" not in ran.err


async def test_a_data_directory_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for path in (file, file / "below"):
        for command in (("up", "--port", "0"), ("keys", "create", "--name", "n")):
            refused(await runcast(*command, "--data-dir", path), str(path))


async def test_a_file_that_is_no_database_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runcast.db").write_text("junk")
    refused(await runcast("up", "--port", "0", "--data-dir", tmp_path), "runcast.db")
    refused(await runcast("events", "verify", "--data-dir", tmp_path), "runcast.db")
    other = tmp_path / "other"
    other.mkdir()
    connection = sqlite3.connect(other / "runcast.db")
    connection.execute("CREATE TABLE things (id)")
    connection.close()
    refused(await runcast("up", "--port", "0", "--data-dir", other), "not one of Runcast's")


async def test_events_of_a_hub_that_is_not_there(tmp_path: Path) -> None:
    for command in ("list", "verify"):
        refused(await runcast("events", command, "--data-dir", tmp_path / "nowhere"), "nowhere", "--data-dir")
    assert os.listdir(tmp_path) == []


async def test_keys_create_prints_the_key_and_nothing_else(tmp_path: Path) -> None:
    first = await runcast("keys", "create", "--name", "first", "--data-dir", tmp_path / "new")
    second = await runcast(
        *("keys", "create", "--name", "second", "--organization", "acme", "--permission", "workflow.read"),
        *("--permission", "execution.*", "--expires-at", "2999-12-31", "--data-dir", tmp_path / "new"),
    )
    for ran in (first, second):
        assert (ran.code, ran.err) == (0, "")
        assert KEY.fullmatch(ran.out)
    listed = await runcast("events", "list", "--data-dir", tmp_path / "new")
    one, two = (json.loads(line) for line in listed.out.splitlines())
    assert one["organization_id"] != two["organization_id"]
    assert one["data"]["role"] == "admin"
    assert (two["data"]["permissions"], two["data"]["role"]) == (["workflow.read", "execution.*"], None)
    assert two["data"]["expires_at"] == "2999-12-31T00:00:00.000Z"
    assert first.out.strip() not in listed.out


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--name", " "], "name"),
        (["--name", "n", "--organization", ""], "name"),
        (["--name", "n", "--role", "owner"], "owner"),
        (["--name", "n", "--permission", "workflow.fly"], "workflow.fly"),
        (["--name", "n", "--expires-at", "soon"], "--expires-at"),
        (["--name", "n", "--expires-at", "2020-01-01"], "expires_at"),
    ],
)
async def test_keys_create_refuses_what_is_wrong(tmp_path: Path, options: list[str], word: str) -> None:
    refused(await runcast("keys", "create", *options, "--data-dir", tmp_path), word)
    assert (await runcast("events", "list", "--data-dir", tmp_path)).out == ""


async def filled(data_dir: Path) -> None:
    """Four events, without the command, whose every start takes a second."""
    clock = SystemClock()
    async with opened_store(Settings(data_dir=data_dir), clock) as (store, key):
        for name in ("a", "b", "c", "d"):
            await create_key(store, clock, key, clock.new_id(), Metadata(), name=name, key=new_key(), role="admin")


async def test_events_list_filters_and_ends_quietly_where_nobody_reads_on(tmp_path: Path) -> None:
    await filled(tmp_path)

    async def positions(*options: str) -> list[int]:
        ran = await runcast("events", "list", *options, "--data-dir", tmp_path)
        assert (ran.code, ran.err) == (0, "")
        return [json.loads(line)["position"] for line in ran.out.splitlines()]

    assert await positions() == [1, 2, 3, 4]
    assert await positions("--limit", "2", "--since", "1", "--types", "workflow.*, *.created") == [2, 3]
    assert await positions("--types", "workflow.*, *.revoked") == []
    assert await positions("--execution", "x", "--workflow", "x") == []
    refused(await runcast("events", "list", "--types", "apikey.flown", "--data-dir", tmp_path), "apikey.flown")
    piped = await asyncio.create_subprocess_shell(
        f"{' '.join(COMMAND)} events list --data-dir '{tmp_path}' | head -c 10",
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await piped.communicate()
    assert (out, err) == (b'{"position', b"")


async def test_verify_names_the_count_and_the_head(tmp_path: Path) -> None:
    async with opened_store(Settings(data_dir=tmp_path), SystemClock()):
        pass
    empty = await runcast("events", "verify", "--data-dir", tmp_path)
    assert (empty.code, empty.out) == (0, "the log is empty\n")
    await filled(tmp_path)
    good = await runcast("events", "verify", "--data-dir", tmp_path)
    assert (good.code, good.err) == (0, "")
    head = json.loads((await runcast("events", "list", "--since", "3", "--data-dir", tmp_path)).out)
    (told,) = good.out.splitlines()
    assert told == f"4 events are whole; the head is 4, hash {head['hash']}"
    by_url = await runcast(
        *("events", "verify", "--from", "2", "--to", "4"), DATABASE_URL=f"sqlite:///{tmp_path / 'runcast.db'}"
    )
    assert by_url.out.splitlines()[0] == f"3 events are whole, 2 to 4; the head is 4, hash {head['hash']}"
    refused(await runcast("events", "verify", "--from", "5", "--data-dir", tmp_path), "--from 5", "position is 4")


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE events SET data = replace(data, '\"b\"', '\"B\"') WHERE position = 2",
        "UPDATE events SET time = '2020-01-01T00:00:00.000Z' WHERE position = 2",
        "UPDATE events SET type = 'apikey.revoked' WHERE position = 2",
        "DELETE FROM events WHERE position = 2",
    ],
)
async def test_verify_exits_1_and_names_the_first_bad_position(tmp_path: Path, edit: str) -> None:
    await filled(tmp_path)
    connection = sqlite3.connect(tmp_path / "runcast.db")
    if "replace" in edit:
        (data,) = connection.execute("SELECT data FROM events WHERE position = 2").fetchone()
        connection.execute("UPDATE events SET data = ? WHERE position = 2", (data.replace(b'"b"', b'"B"'),))
    else:
        connection.execute(edit)
    connection.commit()
    connection.close()
    ran = await runcast("events", "verify", "--data-dir", tmp_path)
    assert ran.code == 1
    assert "position 2" in ran.out
    assert "Traceback" not in ran.err
