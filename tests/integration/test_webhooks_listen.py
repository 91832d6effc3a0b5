"""`runcast webhooks listen`: what it prints of what arrives, what it answers, and what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import signal
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from typer.testing import CliRunner

from hub.cli import app
from hub.client import InvalidRequest
from hub.commands.arrivals import Arrived, arrived_of, in_words
from hub.commands.listening import MOST_BYTES, CannotListen, Receiver, Registration, Wish, received
from hub.commands.tail import Hub as Named
from hub.commands.webhooks import _refused
from tests.integration.hubs import COMMAND, Client, end, environment, unique, until
from tests.integration.receiving import receiving
from webhooks.signing import headers, new_secret, public_key
from webhooks.verification import verify

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRET = "your-webhook-secret"
BODY = b'{"event": "execution.completed", "data": {"text": "Gr\xc3\xbcezi"}}'


class Listening:
    """The command's work under way in this process, what it says, and a sender."""

    def __init__(self, capsys: pytest.CaptureFixture[str], http: aiohttp.ClientSession) -> None:
        self.capsys, self.http = capsys, http
        self.task: asyncio.Task[None] = asyncio.create_task(asyncio.sleep(0))
        self.out = self.err = ""

    @property
    def url(self) -> str:
        found = re.search(r"listening on (\S+);", self.said())
        return found[1] if found else ""

    def said(self) -> str:
        out, err = self.capsys.readouterr()
        self.out, self.err = self.out + out, self.err + err
        return self.err

    def printed(self) -> list[dict[str, Any]]:
        """The lines for programs; the hub in this process logs beside them."""
        self.said()
        return [json.loads(line) for line in self.out.splitlines() if line.startswith('{"received_at"')]

    async def has_said(self, text: str) -> bool:
        assert not self.task.done(), self.task
        return text in self.said()

    async def send(self, *secrets: str, body: bytes = BODY, path: str = "/") -> tuple[int, bytes]:
        async with self.http.post(
            self.url + path, data=io.BytesIO(body), headers=signed(*secrets, body=body)
        ) as answer:
            return answer.status, await answer.read()


def signed(*secrets: str, body: bytes = BODY) -> dict[str, str]:
    return headers(
        message_id="01ARZ3NDEKTSV4RRFFQ69G5FAV",
        delivery_id="01ARZ3NDEKTSV4RRFFQ69G5FAW",
        event="execution.completed",
        attempt=2,
        timestamp=int(time.time()),
        body=body,
        secrets=secrets,
    )


@contextlib.asynccontextmanager
async def listening(
    capsys: pytest.CaptureFixture[str], wish: Wish, *secrets: str, registration: Registration | None = None
) -> AsyncIterator[Listening]:
    """Cancelled at the end, as by Ctrl-C, where it still runs; what it came to is raised."""
    async with aiohttp.ClientSession() as http:
        made = Listening(capsys, http)
        made.task = asyncio.create_task(received(wish, secrets, registration))
        try:
            await until(lambda: made.has_said("sends" if registration else "listening on"))
            yield made
        finally:
            made.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await made.task
            made.said()


Capsys = pytest.CaptureFixture[str]


async def test_what_arrives_is_told_with_its_verification(capsys: Capsys) -> None:
    private = new_secret("ed25519")
    async with listening(capsys, Wish(as_json=True, count=4), SECRET, public_key(private)) as listener:
        assert await listener.send("another", SECRET, path="/hook?a=b") == (200, b"")
        await listener.send(private)
        await listener.send("another")
        await listener.send(SECRET, body=b"no JSON\n")
        await listener.task
    first, second, third, fourth = listener.printed()
    assert first.pop("received_at").endswith("Z")
    assert first == {
        "path": "/hook?a=b",
        "event": "execution.completed",
        "id": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "delivery": "01ARZ3NDEKTSV4RRFFQ69G5FAW",
        "attempt": "2",
        "replay": None,
        "is_verified": True,
        "problem": None,
        "answered": 200,
        "body": json.loads(BODY),
    }
    assert [each["is_verified"] for each in (second, third, fourth)] == [True, False, True]
    assert "no signature matches" in third["problem"]
    assert fourth["body"] == "no JSON\n"
    assert SECRET not in listener.out + listener.err


async def test_without_a_secret_nothing_is_verified_and_that_is_said(capsys: Capsys) -> None:
    async with listening(capsys, Wish(as_json=True, count=1)) as listener:
        await listener.send(SECRET)
        await listener.task
    (told,) = listener.printed()
    assert (told["is_verified"], told["problem"]) == (None, "there is no secret to verify it with")


async def test_it_answers_as_it_is_told_to(capsys: Capsys) -> None:
    async with listening(capsys, Wish(status=503, delay=0.05)) as listener:
        begin = time.monotonic()
        assert (await listener.send(SECRET))[0] == 503
        assert time.monotonic() - begin >= 0.05
        assert (await listener.send(SECRET, body=bytes(MOST_BYTES + 1)))[0] == 413
        async with listener.http.get(listener.url) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert "refused: a body of more than 10 MiB" in listener.err


async def test_it_hands_on_what_arrives_and_answers_what_is_answered(capsys: Capsys) -> None:
    async with receiving() as receiver:
        receiver.replies = [418, 302]
        wish = Wish(as_json=True, forward=f"{receiver.url}/app")
        async with listening(capsys, wish, SECRET) as listener:
            assert await listener.send(SECRET, path="/elsewhere") == (418, b"noted")
            assert (await listener.send(SECRET))[0] == 302
        first, _ = receiver.arrived
    assert first.path == "/app"
    assert verify(first.body, first.headers, SECRET) == json.loads(BODY)
    assert [each["answered"] for each in listener.printed()] == [418, 302]
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with listening(capsys, Wish(forward=nobody)) as listener:
            assert (await listener.send(SECRET))[0] == 502
    assert f"not handed on to {nobody}" in listener.err


def registration_of(client: Client, *events: str, public_url: str | None = None) -> Registration:
    return Registration(hub=Named(client.url, str(client.key)), events=events, public_url=public_url)


async def test_it_registers_itself_for_as_long_as_it_runs(capsys: Capsys, admin: Client) -> None:
    registration = registration_of(admin, "workflow.created")
    async with listening(capsys, Wish(as_json=True), registration=registration) as listener:
        (webhook,) = (await admin.get("/webhooks")).data
        assert (webhook["url"], webhook["events"]) == (listener.url, ["workflow.created"])
        workflow = await admin.workflow()

        async def arrived() -> list[dict[str, Any]]:
            return listener.printed()

        (told,) = await until(arrived)
    assert (told["event"], told["is_verified"]) == ("workflow.created", True)
    assert told["body"]["data"]["workflow"]["id"] == workflow["id"]
    assert (await admin.get("/webhooks")).data == []
    assert "whsec_" not in listener.out + listener.err
    assert str(admin.key) not in listener.out + listener.err


async def test_whoever_ends_it_while_it_registers_leaves_nothing_behind(capsys: Capsys, admin: Client) -> None:
    task = asyncio.create_task(received(Wish(), (), registration_of(admin, "*")))

    listener = Listening(capsys, admin.http)
    while "listening on" not in listener.said():
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [each["type"] for each in await admin.events() if each["type"].startswith("webhook.")] == [
        "webhook.created",
        "webhook.deleted",
    ]
    assert (await admin.get("/webhooks")).data == []


async def test_a_webhook_that_it_cannot_delete_is_named(capsys: Capsys, admin: Client) -> None:
    async with listening(capsys, Wish(), registration=registration_of(admin, "*")) as listener:
        (webhook,) = (await admin.get("/webhooks")).data
        for key in (await admin.get("/auth/api-keys")).data:
            await admin.delete(f"/auth/api-keys/{key['id']}")
    assert f"webhook {webhook['id']} is still registered" in listener.err


async def test_what_cannot_be_is_said_at_once(admin: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(CannotListen, match="in use"):
        await received(Wish(port=taken.getsockname()[1]), ())
    unreachable = registration_of(admin, "*", public_url="http://10.0.0.1/")
    with pytest.raises(InvalidRequest) as refused:
        await received(Wish(), (), unreachable)
    assert re.search(r"the hub says: url: .*private.*RUNCAST_EGRESS_ALLOW=127\.0\.0\.0/8", _refused(refused.value))
    with pytest.raises(InvalidRequest) as refused:
        await received(Wish(), (), registration_of(admin, "workflow.flown"))
    assert "workflow.flown" in _refused(refused.value)
    assert "RUNCAST_EGRESS_ALLOW" not in _refused(refused.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--forward", "localhost:3000"], "must begin with http"),
        (["--forward", "http://127.0.0.1:3000", "--status", "500"], "--status"),
        (["--public-url", "http://example.com"], "are for --events"),
        (["--events", "*", "--host", "0.0.0.0"], "--public-url"),
        (["--secret", "whpk_AAAA"], "32 bytes"),
        (["--secret", SECRET, "--secret", ""], "empty"),
        (["--secret", new_secret("ed25519")], "private key"),
    ],
)
async def test_options_that_do_not_go_together_are_a_2(options: list[str], said: str) -> None:
    ran = await asyncio.to_thread(CliRunner().invoke, app, ["webhooks", "listen", *options])
    assert ran.exit_code == 2
    assert said in ran.stderr


@pytest.mark.parametrize(
    ("mark", "secrets"), [("✓", (SECRET,)), ("✗", ("another",)), ("?", ())], ids=["genuine", "forged", "unknown"]
)
async def test_people_read_a_line_and_the_body_below_it(mark: str, secrets: tuple[str, ...]) -> None:
    sent = signed(SECRET)
    line, *rest = in_words(arrived_of("/hook", sent, BODY, secrets, 500)).plain.splitlines()
    assert f"  {mark} execution.completed" in line
    for part in ("webhook-id 01ARZ3NDEKTSV4RRFFQ69G5FAV", "attempt 2", "path /hook", "answered 500"):
        assert part in line
    assert ("no" in rest[0]) is (mark != "✓")
    assert json.loads("\n".join(rest[0 if mark == "✓" else 1 :])) == json.loads(BODY)


async def test_what_others_wrote_does_not_move_the_cursor() -> None:
    body = b'{"text": "\\u001b[2J \\u009b \\ud800"}\x1b[2J'
    forged = signed(SECRET, body=body) | {"X-Webhook-Event": "\x1b]0;title\x07", "webhook-id": "\x9b"}
    for content in (body, body.partition(b"\x1b")[0]):
        shown = in_words(arrived_of("/\x1b", forged, content, (), 200)).plain
        assert all(char.isprintable() or char == "\n" for char in shown)


async def test_it_ends_where_nobody_reads_what_it_prints_and_still_answers() -> None:
    def show(arrived: Arrived) -> None:
        raise BrokenPipeError

    receiver = Receiver(Wish(status=202), show)
    receiver.take([SECRET])
    async with aiohttp.ClientSession() as http, receiver.serving() as url:
        async with http.post(url, data=BODY, headers=signed(SECRET)) as answer:
            assert answer.status == 202
        with pytest.raises(BrokenPipeError):
            await receiver.ended


async def test_more_than_were_asked_for_are_refused(capsys: Capsys) -> None:
    """Who comes while the last one is being answered is to send it again, to somebody else."""
    reached, may_answer = asyncio.Event(), asyncio.Event()

    async def slowly(arrived: object) -> web.StreamResponse:
        reached.set()
        await may_answer.wait()
        return web.Response()

    async with receiving() as receiver:
        receiver.replies = [slowly]
        async with listening(capsys, Wish(as_json=True, count=1, forward=receiver.url)) as listener:
            last = asyncio.create_task(listener.send(SECRET))
            await reached.wait()
            assert (await listener.send(SECRET))[0] == 503
            may_answer.set()
            assert (await last)[0] == 200
            await listener.task
    assert len(listener.printed()) == 1


async def test_the_command_ends_well_and_leaves_nothing_behind(admin: Client) -> None:
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "webhooks", "listen", "--port", "0", "--events", "workflow.created,workflow.deleted"),
        env=environment(URL=admin.url, API_KEY=str(admin.key)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(30):
            while b" sends workflow.created, workflow.deleted to http://127.0.0.1:" not in (
                await process.stderr.readline()
            ):
                pass
            name = unique("greeting")
            await admin.workflow(name=name)
            assert b"\xe2\x9c\x93 workflow.created" in await process.stdout.readline()
            while name.encode() not in await process.stdout.readline():
                pass
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
            assert await process.stderr.read() == b""
    finally:
        await end(process)
    assert (await admin.get("/webhooks")).data == []
