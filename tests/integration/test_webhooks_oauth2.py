"""Endpoints that want a token: it is asked for once, sent as a bearer's, and asked for again after a 401."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from aiohttp import web

from tests.integration.receiving import Arrived, Receiver, World, receiving, until, world

SECRET = "the client's secret"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@pytest.fixture
async def tokens() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


def given(token: str) -> Any:
    async def answer(arrived: Arrived) -> web.StreamResponse:
        return web.json_response({"access_token": token, "token_type": "Bearer", "expires_in": 3600})

    return answer


async def register(hub: World, receiver: Receiver, tokens: Receiver, **more: Any) -> tuple[Any, Any]:
    acme = await hub.organization("acme")
    authentication = {
        "type": "oauth2",
        "token_url": f"{tokens.url}/token",
        "client_id": "runcast",
        "client_secret": SECRET,
        "scope": "hooks",
        "client_auth": "body",
    }
    created = await hub.register(acme, receiver.url, "workflow.created", authentication=authentication, **more)
    return acme, created.state


async def test_one_token_serves_many_and_a_401_asks_for_another(
    hub: World, receiver: Receiver, tokens: Receiver
) -> None:
    tokens.replies = [given("first"), given("second")]
    acme, state = await register(hub, receiver, tokens)
    await hub.start()
    for number in range(5):
        await hub.workflow(acme, f"w{number}")
    await until(lambda: len(receiver.arrived) == 5)
    assert len(tokens.arrived) == 1
    (asked,) = tokens.arrived
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["runcast"],
        "client_secret": [SECRET],
        "scope": ["hooks"],
    }
    assert {each.headers["Authorization"] for each in receiver.arrived} == {"Bearer first"}
    receiver.replies = [401]
    await hub.workflow(acme, "again")
    await until(lambda: len(receiver.arrived) == 7)
    assert [each.headers["Authorization"] for each in receiver.arrived[5:]] == ["Bearer first", "Bearer second"]

    async def all_succeeded() -> bool:
        return set(await hub.statuses(acme, state.id)) == {"succeeded"}

    await until(all_succeeded)
    for delivery in await hub.deliveries(acme):
        for attempt in await hub.attempts(delivery.id):
            assert attempt.request_headers is not None
            assert msgspec.json.decode(attempt.request_headers)["Authorization"] == "[REDACTED]"


async def test_without_a_token_nothing_is_sent_and_the_attempt_says_why(
    hub: World, receiver: Receiver, tokens: Receiver
) -> None:
    tokens.always = 403
    policy = {"max_attempts": 2, "initial_delay_seconds": 0, "max_delay_seconds": 0, "backoff_multiplier": 1}
    acme, state = await register(hub, receiver, tokens, retry_policy=policy)
    await hub.start()
    await hub.workflow(acme, "a")

    async def is_exhausted() -> bool:
        return await hub.statuses(acme, state.id) == ["exhausted"]

    await until(is_exhausted)
    (delivery,) = await hub.deliveries(acme, state.id)
    attempts = await hub.attempts(delivery.id)
    assert [(attempt.error_class, attempt.status_code) for attempt in attempts] == [("oauth2", None)] * 2
    assert "answered 403" in (attempts[0].error or "")
    assert SECRET not in str(attempts)
    assert receiver.arrived == []


async def test_what_waits_for_its_token_at_the_end_of_the_process_was_not_sent(
    hub: World, receiver: Receiver, tokens: Receiver
) -> None:
    over = asyncio.Event()

    async def never(arrived: Arrived) -> web.StreamResponse:
        await over.wait()
        return web.Response()

    tokens.replies = [never]
    hub.webhooks.worker._grace = 0.1
    acme, _ = await register(hub, receiver, tokens)
    await hub.start()
    await hub.workflow(acme, "a")
    await until(lambda: len(tokens.arrived) == 1)
    await hub.stop()
    over.set()
    (given_back,) = await hub.deliveries(acme)
    assert (given_back.status, given_back.attempt_count) == ("pending", 0)
    assert receiver.arrived == []
