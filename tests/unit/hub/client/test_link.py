from __future__ import annotations

import asyncio

import pytest

from hub.client import Message, SocketStopped, SubscriptionRefused, WorkflowClient
from hub.client.live import link
from tests.unit.hub.client.casting import Caster, casting

KEY = "sk_test_" + "k" * 32


def at_once() -> float:
    return 0.0


def client(url: str, api_key: object = KEY) -> WorkflowClient:
    return WorkflowClient(url, api_key, chance=at_once)  # type: ignore[arg-type]


async def taken(runcast: WorkflowClient, count: int) -> list[int | None]:
    """The positions of the next messages of `events`."""
    found: list[Message] = []
    async with asyncio.timeout(20):
        async for message in runcast.subscribe("events"):
            found.append(message)
            if len(found) == count:
                break
    return [message.position for message in found]


async def going_on(caster: Caster) -> None:
    """Goes on where the client has come to, and stays."""
    await caster.welcome()
    since = (await caster.granted())["since"]
    await caster.cast(since + 1)
    await caster.connection.wait_closed()


def beginning(code: int | None, *, retry_after_ms: int | None = None) -> object:
    """Two messages, and an end."""

    async def live(caster: Caster) -> None:
        await caster.welcome()
        await caster.granted()
        for position in (11, 12):
            await caster.cast(position)
        if code is None:
            caster.connection.transport.abort()
        else:
            await caster.close(code, retry_after_ms=retry_after_ms)

    return live


@pytest.mark.parametrize("code", [None, 1000, 1001, 1011, 1012, 4408])
async def test_after_these_ends_it_comes_back_where_it_was(code: int | None) -> None:
    async with casting(beginning(code), going_on) as hub, client(hub.url) as runcast:  # type: ignore[arg-type]
        assert await taken(runcast, 3) == [11, 12, 13]
        assert [caster.token for caster in hub.casters] == [KEY, KEY]
        assert hub.casters[1].asked[0]["data"] == {"channel": "events", "since": 12, "epoch": "log-1"}


@pytest.mark.parametrize("code", [1013, 4413, 4429])
async def test_after_these_it_comes_back_later(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "LATER", link.LATER._replace(first=0.2))
    loop = asyncio.get_running_loop()
    async with casting(beginning(code), going_on) as hub, client(hub.url) as runcast:  # type: ignore[arg-type]
        begun = loop.time()
        assert await taken(runcast, 3) == [11, 12, 13]
        assert loop.time() - begun >= 0.1


async def test_it_does_not_come_back_before_the_hub_wants_it_to() -> None:
    loop = asyncio.get_running_loop()
    leaving = beginning(1012, retry_after_ms=300)
    async with casting(leaving, going_on) as hub, client(hub.url) as runcast:  # type: ignore[arg-type]
        begun = loop.time()
        assert await taken(runcast, 3) == [11, 12, 13]
        assert loop.time() - begun >= 0.3


@pytest.mark.parametrize("code", [1009, 4400, 4401, 4403, 4411])
async def test_after_these_it_stops_and_says_why(code: int) -> None:
    async with casting(beginning(code)) as hub, client(hub.url) as runcast:  # type: ignore[arg-type]
        with pytest.raises(SocketStopped, match="because") as error:
            await taken(runcast, 3)
        assert (error.value.code, len(hub.casters)) == (code, 1)
        assert KEY not in repr(error.value)


async def test_after_4411_it_renews_first() -> None:
    given = iter(["sk_test_first", "sk_test_second", "sk_test_third"])
    async with casting(beginning(4411), going_on) as hub:  # type: ignore[arg-type]
        async with client(hub.url, lambda: next(given)) as runcast:
            runcast._links._lifetime = forever
            assert await taken(runcast, 3) == [11, 12, 13]
        assert [caster.token for caster in hub.casters] == ["sk_test_first", "sk_test_second"]


async def forever() -> None:
    return None


async def test_a_callable_that_fails_for_good_is_raised_and_one_that_cannot_be_reached_is_asked_again() -> None:
    tries: list[int] = []

    def token() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("not yet")
        raise KeyError("never")

    async with casting(going_on) as hub, client(hub.url, token) as runcast:
        with pytest.raises(KeyError, match="never"):
            await taken(runcast, 1)
        assert len(tries) == 2


async def test_a_hub_that_falls_silent_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(link, "ANSWER_SECONDS", 0.05)

    async def falling_silent(caster: Caster) -> None:
        await caster.welcome()
        await caster.granted()
        for position in (11, 12):
            await caster.cast(position)
        while (await caster.hear())["type"] == "ping":
            pass

    async with casting(falling_silent, going_on) as hub, client(hub.url) as runcast:
        assert await taken(runcast, 3) == [11, 12, 13]
        assert hub.casters[0].asked[-1]["type"] == "ping"


async def test_a_hub_that_answers_pings_is_kept_and_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "HEARTBEAT_SECONDS", 0.02)
    monkeypatch.setattr(link, "ANSWER_SECONDS", 0.05)

    async def quiet(caster: Caster) -> None:
        await caster.welcome()
        await caster.granted()
        for _ in range(3):
            message = await caster.hear()
            await caster.say("pong", reply_to=message["id"], position=500)
        await caster.close(1012)

    async with casting(quiet, going_on) as hub, client(hub.url) as runcast:
        assert await taken(runcast, 1) == [501]
        assert len(hub.casters) == 2


async def test_repeats_and_what_cannot_be_read_are_dropped() -> None:
    async def stammering(caster: Caster) -> None:
        await caster.welcome()
        await caster.granted()
        await caster.connection.send("what?")
        for position in (11, 11, 10, 12):
            await caster.cast(position)
        await caster.connection.wait_closed()

    async with casting(stammering) as hub, client(hub.url) as runcast:
        assert await taken(runcast, 2) == [11, 12]


async def test_a_temporary_refusal_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "LATER", link.LATER._replace(first=0.02))

    async def hesitating(caster: Caster) -> None:
        await caster.welcome()
        message = await caster.hear()
        await caster.say("error", reply_to=message["id"], code="SERVICE_UNAVAILABLE", message="try again")
        await caster.granted()
        await caster.cast(11)
        await caster.connection.wait_closed()

    async with casting(hesitating) as hub, client(hub.url) as runcast:
        assert await taken(runcast, 1) == [11]


async def test_a_withdrawn_subscription_is_raised_after_what_came_before_it() -> None:
    async def withdrawing(caster: Caster) -> None:
        await caster.welcome()
        await caster.granted()
        await caster.cast(11)
        await caster.say("error", reply_to=None, code="AUTHORIZATION_ERROR", message="no more", channel="events")
        await caster.connection.wait_closed()

    async with casting(withdrawing) as hub, client(hub.url) as runcast:
        loop = aiter(runcast.subscribe("events"))
        assert (await anext(loop)).position == 11
        with pytest.raises(SubscriptionRefused, match="no more"):
            await anext(loop)


async def test_a_socket_that_nobody_wants_any_more_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "LINGER_SECONDS", 0.02)

    async def staying(caster: Caster) -> None:
        await caster.welcome()
        await caster.granted()
        await caster.cast(11)
        await caster.connection.wait_closed()

    async with casting(staying) as hub, client(hub.url) as runcast:
        assert await taken(runcast, 1) == [11]
        async with asyncio.timeout(20):
            await hub.casters[0].connection.wait_closed()
            while runcast._links.count:
                await asyncio.sleep(0)
        assert await taken(runcast, 1) == [11]
        assert len(hub.casters) == 2
