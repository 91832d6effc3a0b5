from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from executor.domain.errors import Unavailable
from executor.domain.values import plus
from executor.ports import EventQuery, Recorded
from hub.auth.principal import Principal
from tests.unit.hub.socket.casting import EXECUTION, WORKFLOW, key, line, opened, revoked, until
from tests.unit.hub.socket.serving import TOKEN, Hub, closed, hear, principal, say, served, subscribe, texts, welcomed


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with opened(tmp_path) as world, served(world) as hub:
        yield hub


@pytest.mark.parametrize(
    "headers",
    [{"X-API-Key": TOKEN}, {"Authorization": f"Bearer {TOKEN}"}, {"authorization": f"bearer  {TOKEN} "}],
    ids=repr,
)
async def test_credentials_may_come_in_a_header(hub: Hub, headers: dict[str, str]) -> None:
    async with hub.client(None, additional_headers=headers) as client:
        await welcomed(client)


async def test_credentials_may_come_in_the_first_message(hub: Hub) -> None:
    async with hub.client(None) as client:
        assert (await subscribe(client))["data"]["code"] == "AUTHENTICATION_ERROR"
        await say(client, "auth", "a", token=TOKEN)
        assert (await welcomed(client))["reply_to"] == "a"
        assert (await subscribe(client))["type"] == "subscribed"


@pytest.mark.parametrize(
    ("token", "headers"),
    [
        ("sk_wrong", {}),
        ("", {}),
        ("sk_wrong", {"X-API-Key": TOKEN}),
        (None, {"X-API-Key": "sk_wrong"}),
        (None, {"Authorization": "Basic dTpw"}),
    ],
)
async def test_wrong_credentials_are_told_after_the_handshake(
    hub: Hub, token: str | None, headers: dict[str, str]
) -> None:
    async with hub.client(token, additional_headers=headers) as client:
        assert await closed(client) == (4401, "the credentials are not valid")


async def test_wrong_credentials_in_a_message_close_too(hub: Hub) -> None:
    async with hub.client(None) as client:
        await say(client, "auth", token="sk_wrong")
        assert (await closed(client))[0] == 4401


async def test_who_does_not_say_who_it_is_in_time_is_closed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.socket.protocol.AUTH_SECONDS", 0.05)
    async with hub.client(None) as client, hub.client() as known:
        await welcomed(known)
        assert (await closed(client))[0] == 4408
        assert (await subscribe(known))["type"] == "subscribed"


async def test_expired_credentials_close_and_renewed_ones_do_not(hub: Hub) -> None:
    clock = hub.world.clock
    hub.principals["sk_short"] = principal(expires_at=plus(clock.now(), 0.4))
    async with hub.client("sk_short") as lazy, hub.client("sk_short") as careful:
        await welcomed(lazy)
        await welcomed(careful)
        assert (await subscribe(careful))["type"] == "subscribed"
        await say(careful, "auth", token=TOKEN)
        await welcomed(careful)
        assert await closed(lazy) == (4411, "the credentials have expired")
        await hub.world.author.write(line())
        assert await texts(careful, 1) == await hub.world.said(key())


async def test_a_revoked_key_is_closed_at_once_and_only_that(hub: Hub) -> None:
    hub.principals["sk_revoked"] = principal(id="01REVOKED")
    async with hub.client("sk_revoked") as theirs, hub.client() as ours:
        await welcomed(theirs)
        await welcomed(ours)
        await hub.world.author.write(revoked(), stream="apikey:01REVOKED", execution_id=None, workflow_id=None)
        assert await closed(theirs) == (4401, "the credentials were revoked")
        assert (await subscribe(ours))["type"] == "subscribed"


@pytest.mark.parametrize("token", [TOKEN, None])
@pytest.mark.parametrize(
    ("frame", "code"),
    [
        *[(frame, 4400) for frame in ("", "{", "[]", "{}", '{"type":1}', b'{"type":"ping"}', b"")],
        ("x" * 65_536, 4400),
        ("x" * 65_537, 1009),
        (b"x" * 100_000, 1009),
    ],
    ids=lambda value: repr(value)[:20],
)
async def test_a_frame_that_is_no_message_closes(hub: Hub, frame: str | bytes, code: int, token: str | None) -> None:
    async with hub.client(token) as client:
        await client.send(frame)
        assert (await closed(client))[0] == code


async def test_a_message_in_fragments_is_one_message(hub: Hub) -> None:
    async with hub.client() as client:
        await welcomed(client)
        await client.send(["{", '"type":', '"ping"}'])
        assert (await hear(client))["type"] == "pong"


@pytest.mark.parametrize(
    ("data", "code", "field"),
    [
        ({"channel": "comet"}, "VALIDATION_ERROR", "channel"),
        ({"channel": "webhook"}, "VALIDATION_ERROR", "webhook_id"),
        ({"channel": "webhook", "webhook_id": "01HQN0TTHEREZZZZZZZZZZZZZZ"}, "RESOURCE_NOT_FOUND", "webhook_id"),
        (
            {"channel": "execution", "execution_id": "01HQN0TTHEREZZZZZZZZZZZZZZ"},
            "RESOURCE_NOT_FOUND",
            "execution_id",
        ),
        ({"channel": "execution", "execution_id": "nonsense"}, "RESOURCE_NOT_FOUND", "execution_id"),
        ({"channel": "workflow", "workflow_id": EXECUTION[:-1]}, "RESOURCE_NOT_FOUND", "workflow_id"),
        ({"channel": "execution", "execution_id": EXECUTION, "since": 5}, "INVALID_POSITION", "since"),
        ({"channel": "execution", "execution_id": EXECUTION, "since": -1}, "VALIDATION_ERROR", "since"),
        ({"channel": "events", "types": ["comet.*"]}, "VALIDATION_ERROR", "types[0]"),
        ({"channel": "events", "filter": "tru("}, "VALIDATION_ERROR", "filter"),
        ({"channel": "events", "mode": "new"}, "VALIDATION_ERROR", "mode"),
        ({"channels": [{"channel": "execution"}]}, "VALIDATION_ERROR", "channels[0].execution_id"),
        ({}, "VALIDATION_ERROR", "channel"),
    ],
)
async def test_a_refused_subscription_is_an_error_and_the_socket_goes_on(
    hub: Hub, data: dict[str, Any], code: str, field: str
) -> None:
    async with hub.client() as client:
        await welcomed(client)
        await say(client, "subscribe", "s", **data)
        error = await hear(client)
        assert error["type"] == "error"
        assert (error["data"]["reply_to"], error["data"]["code"], error["data"]["field"]) == ("s", code, field)
        assert (await subscribe(client))["type"] == "subscribed"
        assert hub.sockets.subscription_count == 1


@pytest.mark.parametrize(
    ("permission", "wish"),
    [
        ("execution.read", {"channel": "execution", "execution_id": EXECUTION}),
        ("workflow.read", {"channel": "workflow", "workflow_id": WORKFLOW}),
        ("event.read", {"channel": "events"}),
        ("webhook.read", {"channel": "webhook", "webhook_id": "*"}),
        ("system.read", {"channel": "system"}),
    ],
)
async def test_a_channel_needs_its_permission(hub: Hub, permission: str, wish: dict[str, str]) -> None:
    hub.principals["sk_some"] = principal(permission)
    hub.principals["sk_none"] = principal("task.read")
    async with hub.client("sk_some") as some, hub.client("sk_none") as none:
        await welcomed(some)
        await welcomed(none)
        assert (await subscribe(some, **wish))["type"] == "subscribed"
        refused = await subscribe(none, **wish)
        assert refused["data"]["code"] == "AUTHORIZATION_ERROR"
        assert permission in refused["data"]["message"]


async def test_a_client_stays_while_the_log_is_away_and_then_gets_the_rest(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.world.author.write_lines(5)
    await hub.world.dispatched()
    hub.world.feed._ring.start = 5

    async def away(query: EventQuery) -> list[Recorded]:
        raise Unavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(hub.world.log, "read", away)
        client = await hub.client()
        await welcomed(client)
        assert (await subscribe(client, since=0))["type"] == "subscribed"
        await say(client, "ping")
        assert (await hear(client))["type"] == "pong"
    assert [(await hear(client))["position"] for _ in range(5)] == [1, 2, 3, 4, 5]
    await client.close()


async def test_a_position_that_another_process_came_to_is_looked_up(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.world.author.write_lines(2)

    async def refresh() -> int:
        hub.world.log.notice(7)
        return 7

    async with hub.client() as client:
        await welcomed(client)
        monkeypatch.setattr(hub.world.log, "refresh", refresh)
        assert (await subscribe(client, since=7))["data"]["position"] == 7
        assert (await subscribe(client, since=8))["data"]["code"] == "INVALID_POSITION"

        async def away() -> int:
            raise Unavailable("away")

        monkeypatch.setattr(hub.world.log, "refresh", away)
        assert (await subscribe(client, since=9))["data"]["code"] == "SERVICE_UNAVAILABLE"


async def test_a_fault_of_ours_closes_and_leaves_nothing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    await hub.world.author.write_lines(5)
    await hub.world.dispatched()
    hub.world.feed._ring.start = 5

    async def broken(query: EventQuery) -> list[Recorded]:
        raise KeyError("sk_secret")

    monkeypatch.setattr(hub.world.log, "read", broken)
    async with hub.client() as client:
        await welcomed(client)
        await subscribe(client, since=0)
        closing = await hear(client)
        assert "sk_secret" not in json.dumps(closing)
        assert (await closed(client))[0] == 1011


async def test_credentials_and_channels_that_cannot_be_looked_up_for_now(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: str) -> Any:
        raise Unavailable("away")

    async with hub.client() as client:
        await welcomed(client)
        monkeypatch.setattr(hub.sockets._doors, "exists", away)
        assert (await subscribe(client))["data"]["code"] == "SERVICE_UNAVAILABLE"
        monkeypatch.setattr(hub.sockets._doors, "authenticate", away)
        async with hub.client() as other:
            assert (await closed(other))[0] == 1013
        await say(client, "ping")
        assert (await hear(client))["type"] == "pong"


async def test_a_client_that_goes_while_its_credentials_are_checked_leaves_nothing(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    checking, go = asyncio.Event(), asyncio.Event()

    async def slow(token: str) -> Principal | None:
        checking.set()
        await go.wait()
        return principal()

    monkeypatch.setattr(hub.sockets._doors, "authenticate", slow)
    client = await hub.client()
    await checking.wait()
    client.transport.abort()
    go.set()
    await until(lambda: hub.sockets.connection_count == 0)


async def test_a_token_is_in_no_log(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with hub.client() as client:
        await welcomed(client)
    async with hub.client("sk_wrong_one") as client:
        await closed(client)
    async with hub.client(None) as client:
        await say(client, "auth", token="sk_wrong_one")
        await closed(client)
    assert "WebSocket /ws?token=[REDACTED]" in caplog.text
    assert TOKEN not in caplog.text
    assert "sk_wrong_one" not in caplog.text


async def test_when_the_hub_goes_down_everybody_is_told_first(hub: Hub) -> None:
    clients = [await hub.client() for _ in range(150)]
    for client in clients:
        await welcomed(client)
    anonymous = await hub.client(None)
    assert (await subscribe(clients[0]))["type"] == "subscribed"
    await hub.sockets.close_all()
    assert hub.sockets.connection_count == 0
    retries = set()
    for client in (*clients, anonymous):
        message = await hear(client)
        assert message["type"] == "closing"
        assert message["data"]["code"] == 1012
        assert message["data"]["reconnect"] is True
        retries.add(message["data"]["retry_after_ms"])
        assert await closed(client) == (1012, "the hub is going down")
    assert len(retries) > 10
    async with hub.client() as late:
        assert (await closed(late))[0] == 1012
    await hub.sockets.close_all()
