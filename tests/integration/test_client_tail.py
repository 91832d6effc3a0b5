"""`runcast tail`: what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import typer

from hub.client import Message
from hub.commands.following import _in_words, cancel_once, plain
from hub.commands.tail import Hub as Named
from hub.commands.tail import channel_of, hub_of
from tests.integration.hubs import COMMAND, WAITING, Client, end, environment, runcast, unique

pytestmark = pytest.mark.asyncio(loop_scope="session")


@contextlib.asynccontextmanager
async def tail(client: Client, *arguments: str, out: int) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "tail",
        *arguments,
        env=environment(URL=client.url, API_KEY=str(client.key)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=out,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        await end(process)


async def test_a_pipe_gets_the_messages_as_they_are_and_may_close_when_it_has_enough(admin: Client) -> None:
    execution_id = await admin.execution((await admin.workflow(WAITING))["id"])
    async with (
        asyncio.timeout(30),
        tail(
            admin, f"execution:{execution_id}", "--since", "0", "--types", "execution.*", out=asyncio.subprocess.PIPE
        ) as process,
    ):
        assert process.stdout is not None
        first = json.loads(await process.stdout.readline())
        assert (first["type"], first["channel"]) == ("execution_update", f"execution:{execution_id}")
        assert first["data"]["status"] == "queued"
        process.stdout._transport.close()  # type: ignore[attr-defined]
        assert (await admin.post(f"/executions/{execution_id}/cancel")).status == 200
        assert await process.wait() == 0
        assert process.stderr is not None
        assert await process.stderr.read() == b""


async def test_a_terminal_gets_lines_and_ctrl_c_is_no_error(admin: Client) -> None:
    workflow = await admin.workflow(name=unique("greeting"))
    leader, follower = pty.openpty()
    try:
        async with asyncio.timeout(30), tail(admin, "--since", "0", out=follower) as process:
            text = b""
            while b"workflow.created" not in text or b"\n" not in text.partition(b"workflow.created")[2]:
                text += await asyncio.to_thread(os.read, leader, 4096)
            assert workflow["name"].encode() in text
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
            assert process.stderr is not None
            assert await process.stderr.read() == b""
    finally:
        os.close(leader)
        os.close(follower)


async def test_a_second_ctrl_c_does_not_cut_the_end_short() -> None:
    ending, closed = asyncio.Event(), asyncio.Event()

    async def followed() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ending.set()
            await closed.wait()
        return "closed"

    task = asyncio.create_task(followed())
    await asyncio.sleep(0)
    cancel_once(task)
    await ending.wait()
    cancel_once(task)
    closed.set()
    assert await task == "closed"


async def test_what_goes_wrong_is_a_sentence(admin: Client) -> None:
    wrong = await runcast("tail", URL=admin.url, API_KEY="sk_live_" + "0" * 32)
    assert (wrong.code, wrong.out) == (1, "")
    assert wrong.err == f"runcast: {admin.url}: the credentials are invalid, expired or revoked\n"


async def test_the_hub_is_the_named_one_or_that_of_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RUNCAST_URL", "http://hub.example")
    monkeypatch.setenv("RUNCAST_API_KEY", "key")
    assert hub_of(None, None, None) == Named("http://hub.example", "key")
    assert hub_of("http://other.example", "mine", tmp_path) == Named("http://other.example", "mine")
    assert "mine" not in repr(hub_of("http://other.example", "mine", None))
    with pytest.raises(typer.Exit):
        hub_of("http://other.example", None, tmp_path)
    with pytest.raises(typer.Exit):
        hub_of(None, None, tmp_path)
    (tmp_path / "runcast.db").touch()
    with pytest.raises(typer.Exit):
        hub_of(None, None, tmp_path)
    (tmp_path / "runcast.db.lock").write_text('{"pid": 1, "address": "http://127.0.0.1:8123"}')
    assert hub_of(None, "mine", tmp_path) == Named("http://127.0.0.1:8123", "mine")
    with pytest.raises(typer.Exit):
        hub_of(None, None, tmp_path)
    (tmp_path / "credentials.json").write_text('{"api_key": "kept", "organization_id": "o"}')
    assert hub_of(None, None, tmp_path) == Named("http://127.0.0.1:8123", "kept")
    said = capsys.readouterr().err
    for part in ("say who asks", "there is no hub's data", "no hub runs on"):
        assert part in said


@pytest.mark.parametrize(
    ("text", "kind", "keys"),
    [
        ("events", "events", {}),
        ("execution:e1", "execution", {"execution_id": "e1"}),
        ("workflow", "workflow", {"workflow_id": "*"}),
        ("task:assignee:ada", "task", {"assignee": "ada"}),
        ("webhook:*", "webhook", {"webhook_id": "*"}),
    ],
)
async def test_a_channel_is_written_as_the_hub_names_it(text: str, kind: str, keys: dict[str, str]) -> None:
    assert channel_of(text) == (kind, keys)


@pytest.mark.parametrize("text", ["", "weather", "events:1", "replay", "Execution:e1"])
async def test_what_is_no_channel_is_said_so(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as error:
        channel_of(text)
    assert error.value.exit_code == 2
    assert "there are events, system, execution:ID" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"type": "event", "data": {"type": "log.written", "stream": "execution:e", "data": {"component_id": "a"}}},
         ("log.written", "execution:e  a")),
        ({"type": "execution_update", "channel": "execution:e",
          "data": {"status": "running", "progress": {"percentage": 0, "current_component": "a"}}},
         ("execution.running", "execution:e  0 %  a")),
        ({"type": "component_completed", "channel": "execution:e",
          "data": {"status": "skipped", "component_id": "a"}},
         ("component.skipped", "execution:e  a")),
        ({"type": "error", "channel": "execution:e", "data": {"component_id": "a", "error": "no", "final": False}},
         ("component.retry", "execution:e  a  no")),
        ({"type": "log", "channel": "execution:e", "data": {"level": "info", "message": "hi", "component_id": None}},
         ("log.info", "execution:e  hi")),
        ({"type": "task_update", "channel": "task:t", "data": {"event": "task.created", "title": "Look"}},
         ("task.created", "task:t  Look")),
        ({"type": "workflow_update", "channel": "workflow:w", "data": {"event": "workflow.updated", "name": "n"}},
         ("workflow.updated", "workflow:w  n")),
        ({"type": "system_notification", "channel": "system", "data": {"event": "apikey.created", "message": "made"}},
         ("system_notification", "system  apikey.created  made")),
        ({"type": "replay_completed", "channel": "replay:r", "data": {"status": "completed"}},
         ("replay_completed", "replay:r  completed")),
        ({"type": "gap", "channel": "events", "data": {"reason": "archived"}},
         ("gap", "what follows does not join what came before: archived")),
    ],
)  # fmt: skip
async def test_each_message_has_its_words(message: dict[str, object], words: tuple[str, str]) -> None:
    assert _in_words(Message(**message)) == words  # type: ignore[arg-type]


async def test_what_others_wrote_cannot_steer_the_terminal() -> None:
    assert plain("a\x1b[31mb\r\nc\u202ed") == "a [31mb  c d"
