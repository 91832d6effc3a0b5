"""What the transport does with bytes, by RFC 6455: with those of a client that knows it, and of one that does not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.socket.codes import CloseCode
from hub.socket.connection import Connection
from hub.socket.lines import ANSWER_SECONDS, PING_SECONDS, FramedLine
from hub.socket.outbox import MAX_UNSENT_BYTES
from hub.socket.transport import EXTENSION, Transport
from tests.integration.wire import (
    BROKEN,
    CLOSE,
    CONT,
    PING,
    PONG,
    SAYING_PING,
    TEXT,
    Wire,
    closing,
    frame,
    text,
    wired,
)
from tests.unit.hub.socket.casting import EXECUTION, key, line, opened, until
from tests.unit.hub.socket.serving import TOKEN, Hub, by_uvicorn, served


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with opened(tmp_path) as world, served(world) as hub:
        yield hub


def only(hub: Hub) -> Connection:
    (connection,) = hub.sockets
    return connection


def transport_of(connection: Connection) -> Transport:
    assert isinstance(connection._line, FramedLine)
    return connection._line._transport


# messages in fragments


async def test_control_frames_come_between_the_fragments_of_a_message(hub: Hub) -> None:
    async with wired(hub) as wire:
        await wire.welcomed()
        await wire.send(frame(TEXT, SAYING_PING[:5], fin=False) + frame(PING, b"here?") + frame(PONG, b"unasked"))
        assert await wire.hear() == (PONG, b"here?")
        await wire.send(frame(CONT, fin=False) + frame(CONT, SAYING_PING[5:9], fin=False) + frame(PING))
        assert await wire.hear() == (PONG, b"")
        await wire.send(frame(CONT, SAYING_PING[9:], fin=True))
        assert (await wire.hear()).json["type"] == "pong"


async def test_a_message_byte_by_byte_is_that_message(hub: Hub) -> None:
    async with wired(hub) as wire:
        await wire.welcomed()
        for byte in frame(TEXT, SAYING_PING):
            await wire.send(bytes((byte,)))
        assert (await wire.hear()).json["type"] == "pong"


async def test_a_character_may_be_split_between_fragments(hub: Hub) -> None:
    whole = json.dumps({"type": "ping", "id": "é€🙂"}, ensure_ascii=False).encode()
    async with wired(hub) as wire:
        await wire.welcomed()
        frames = [frame(TEXT, whole[:1], fin=False), *(frame(CONT, bytes((byte,)), fin=False) for byte in whole[1:])]
        await wire.send(b"".join(frames) + frame(CONT))
        assert (await wire.hear()).json["data"]["reply_to"] == "é€🙂"


async def test_fragments_without_bytes_cost_no_memory(hub: Hub) -> None:
    async with wired(hub) as wire:
        await wire.welcomed()
        await wire.send(frame(TEXT, SAYING_PING[:5], fin=False) + frame(CONT, fin=False) * 50_000 + frame(PING))
        assert await wire.hear() == (PONG, b"")
        assert len(transport_of(only(hub)).frames) <= 2
        await wire.send(frame(CONT, SAYING_PING[5:]))
        assert (await wire.hear()).json["type"] == "pong"


@pytest.mark.parametrize("size", [65_535, 65_536])
async def test_a_message_of_the_length_where_the_head_grows_arrives(hub: Hub, size: int) -> None:
    async with wired(hub) as wire:
        await wire.welcomed()
        await wire.subscribed(channel="execution", execution_id=EXECUTION)
        await hub.world.author.write(line(""))
        shortest = len((await wire.hear()).payload)
        await hub.world.author.write(line("x" * (size - shortest)))
        heard = await wire.hear()
        assert len(heard.payload) == size
        assert heard.payload == (await hub.world.said(key()))[1]


# what is no frame of a client


@pytest.mark.parametrize(("sent", "code"), BROKEN.values(), ids=BROKEN.keys())
async def test_what_breaks_the_protocol_closes_with_its_code(hub: Hub, sent: bytes, code: int) -> None:
    async with wired(hub) as wire:
        await wire.welcomed()
        await wire.subscribed(channel="events")
        await wire.send(sent)
        assert await wire.hear_close() == code
        await until(lambda: hub.sockets.connection_count == 0)


# closing


@pytest.mark.parametrize("code", [None, 1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999])
async def test_a_client_s_close_is_answered_with_its_code(hub: Hub, code: int | None) -> None:
    async with wired(hub) as wire:
        await wire.welcomed()
        await wire.subscribed(channel="events")
        await wire.send(frame(CLOSE) if code is None else closing(code, "bye"))
        assert await wire.hear_close() == code
        await until(lambda: hub.sockets.connection_count == 0)


@pytest.mark.parametrize("code", CloseCode)
async def test_our_close_waits_for_the_client_s(hub: Hub, code: CloseCode) -> None:
    async with wired(hub) as wire:
        await wire.welcomed()
        only(hub).leave(code, "for a reason")
        assert (await wire.hear()).json["data"]["code"] == code
        heard = await wire.hear()
        assert (heard.code, heard.payload[2:]) == (code, b"for a reason")
        assert hub.sockets.connection_count == 1
        await wire.send(frame(PING, b"x") + text("ping") + frame(CLOSE, heard.payload))
        await wire.hear_end()
        await until(lambda: hub.sockets.connection_count == 0)


async def test_who_does_not_answer_our_close_is_cut_off(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.socket.transport.CLOSE_SECONDS", 0.05)
    async with wired(hub) as wire:
        await wire.welcomed()
        only(hub).leave(CloseCode.RESTART, "")
        await wire.hear()
        assert (await wire.hear()).opcode == CLOSE
        await wire.hear_end()
        assert hub.sockets.connection_count == 0


async def test_who_does_not_read_up_to_our_close_is_cut_off(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.socket.transport.CLOSE_SECONDS", 0.05)
    async with wired(hub, buffer=4096) as wire:
        await full(hub, wire)
        only(hub).leave(CloseCode.RESTART, "")
        await until(lambda: hub.sockets.connection_count == 0)


async def full(hub: Hub, wire: Wire) -> None:
    """Its client has not read for so long that it is set aside."""
    await wire.welcomed()
    await wire.subscribed(channel="events")
    for _ in range(40):
        await hub.world.author.write(line("x" * 50_000))
    await hub.world.dispatched()
    await until(lambda: hub.world.feed.live_count == 0)
    assert only(hub).unsent_bytes > 0


async def late(hub: Hub, wire: Wire) -> None:
    """Its client does not read, but is not set aside yet."""
    await wire.welcomed()
    await wire.subscribed(channel="events")
    while not only(hub).unsent_bytes:
        await hub.world.author.write(line("x" * 50_000))
        await hub.world.dispatched()
    assert hub.world.feed.live_count == 1


async def test_who_closes_without_reading_is_cut_off(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its close is behind what it does not let us write, and ours too."""
    monkeypatch.setattr("hub.socket.transport.CLOSE_SECONDS", 0.05)
    async with wired(hub, buffer=4096) as wire:
        await late(hub, wire)
        await wire.send(closing(1000))
        await until(lambda: hub.sockets.connection_count == 0)


@pytest.mark.parametrize(("sent", "code"), [(closing(1000), 1000), (frame(CONT), 1002)], ids=["closes", "breaks"])
async def test_nothing_follows_a_close_that_waits_for_the_client_to_read(hub: Hub, sent: bytes, code: int) -> None:
    async with wired(hub, buffer=4096) as wire:
        await late(hub, wire)
        transport = transport_of(only(hub))
        await wire.send(sent)
        await until(lambda: transport.transport.is_closing())
        assert transport.unsent_bytes > 0
        for _ in range(3):
            await hub.world.author.write(line("after the close"))
        await hub.world.dispatched()
        assert await wire.hear_close() == code


# ends without a close


@pytest.mark.parametrize("is_late", [False, True])
async def test_half_a_connection_is_none(hub: Hub, is_late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.socket.transport.CLOSE_SECONDS", 0.05)
    async with wired(hub, buffer=4096) as wire:
        if is_late:
            await late(hub, wire)
        else:
            await wire.welcomed()
            await wire.subscribed(channel="events")
        wire.sock.shutdown(socket.SHUT_WR)
        await until(lambda: hub.sockets.connection_count == 0)
        assert hub.world.feed.live_count == 0


@pytest.mark.parametrize("is_full", [False, True])
async def test_a_client_that_disappears_leaves_nothing(hub: Hub, is_full: bool) -> None:
    async with wired(hub, buffer=4096) as wire:
        if is_full:
            await full(hub, wire)
        else:
            await wire.welcomed()
            await wire.subscribed(channel="events")
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.sock.close()
        await until(lambda: hub.sockets.connection_count == 0)
        assert hub.world.feed.live_count == 0


# pings


async def test_a_silent_client_is_asked_and_cut_off_if_it_does_not_answer(hub: Hub) -> None:
    async with wired(hub) as wire:
        await wire.welcomed()
        connection = only(hub)
        heard_at = transport_of(connection).heard_at
        connection.check(heard_at + PING_SECONDS - 1)
        assert connection._line._pinged_at is None  # type: ignore[attr-defined]
        connection.check(heard_at + PING_SECONDS + 1)
        connection.check(heard_at + PING_SECONDS + ANSWER_SECONDS)
        assert await wire.hear() == (PING, b"")
        assert hub.sockets.connection_count == 1
        connection.check(heard_at + PING_SECONDS + ANSWER_SECONDS + 2)
        await until(lambda: hub.sockets.connection_count == 0)


async def test_one_that_answers_stays_and_so_does_one_that_has_much_to_read(hub: Hub) -> None:
    now = asyncio.get_running_loop().time
    async with wired(hub, buffer=4096) as wire:
        await wire.welcomed()
        connection = only(hub)
        heard_at = transport_of(connection).heard_at
        connection.check(heard_at + PING_SECONDS + 1)
        assert await wire.hear() == (PING, b"")
        await wire.send(frame(PONG) + text("ping"))
        assert (await wire.hear()).json["type"] == "pong"
        transport_of(connection).heard_at = heard_at + PING_SECONDS + 2  # As if it had taken so long until then.
        connection.check(heard_at + PING_SECONDS + ANSWER_SECONDS + 3)
        await wire.send(text("ping"))
        assert (await wire.hear()).json["type"] == "pong"
        await wire.subscribed(channel="events")
        for _ in range(40):
            await hub.world.author.write(line("x" * 50_000))
        await until(lambda: hub.world.feed.live_count == 0)
        for later in range(1, 5):
            connection.check(now() + later * PING_SECONDS)
        assert [(await wire.hear()).json["position"] for _ in range(40)] == list(range(1, 41))


async def test_one_whose_message_is_being_answered_is_not_asked(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not listened to meanwhile, whatever it says."""
    go, exists = asyncio.Event(), hub.doors.exists

    async def slow(kind: str, id: str, organization_id: str) -> bool:
        await go.wait()
        return await exists(kind, id, organization_id)

    now = asyncio.get_running_loop().time
    async with wired(hub) as wire:
        await wire.welcomed()
        monkeypatch.setattr(hub.doors, "exists", slow)
        await wire.send(text("subscribe", channel="execution", execution_id=EXECUTION))
        connection = only(hub)
        await until(lambda: connection._answering is not None)
        for later in range(1, 5):
            connection.check(now() + later * PING_SECONDS)
        go.set()
        assert (await wire.hear()).json["type"] == "subscribed"


@pytest.mark.parametrize("is_closing", [False, True])
async def test_pings_of_one_that_does_not_read_are_bounded(hub: Hub, is_closing: bool) -> None:
    async with wired(hub, buffer=4096) as wire:
        await (full if is_closing else late)(hub, wire)
        connection, most, sent = only(hub), 0, 0
        if is_closing:
            connection.leave(CloseCode.RESTART, "")
        flood = frame(PING, b"x" * 125) * 500
        for _ in range(200):
            with contextlib.suppress(BlockingIOError):
                sent += wire.sock.send(flood)
            await asyncio.sleep(0)
            most = max(most, connection.unsent_bytes)
        assert sent > 500_000
        assert most <= MAX_UNSENT_BYTES


# what comes early, what goes late


@pytest.mark.parametrize("token", [TOKEN, None])
async def test_what_comes_before_the_app_has_taken_the_connection_is_heard(tmp_path: Path, token: str | None) -> None:
    def slowly(app: ASGIApp, listener: socket.socket) -> AbstractAsyncContextManager[None]:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            async def slow(message: Message) -> None:
                await send(message)
                if message["type"] == "websocket.accept":
                    await until(lambda: not scope["extensions"][EXTENSION].queue.empty())

            await app(scope, receive, slow)

        return by_uvicorn(serve, listener)

    async with opened(tmp_path) as world, served(world, by=slowly) as hub, wired(hub, token) as wire:
        await wire.send(text("ping", "1") + text("ping", "2"))
        if token is not None:
            await wire.welcomed()
        answers = [(await wire.hear()).json for _ in range(2)]
        assert [answer["data"]["reply_to"] for answer in answers] == ["1", "2"]
        assert {answer["type"] for answer in answers} == {"error" if token is None else "pong"}
        await wire.send(text("ping", "3"))
        assert (await wire.hear()).json["data"]["reply_to"] == "3"


async def test_a_server_that_goes_while_a_client_closes_does_not_fail(tmp_path: Path) -> None:
    """uvicorn's own shutdown, without the hub's that goes before it."""
    async with opened(tmp_path) as world, served(world) as hub, wired(hub, buffer=4096) as wire:
        await late(hub, wire)
        transport = transport_of(only(hub))
        await wire.send(closing(1000))
        await until(lambda: transport.transport.is_closing())
        transport.shutdown()
        transport.shutdown()
        transport.abort()
