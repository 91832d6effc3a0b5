from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import pytest
from aiohttp import web

from executor.egress import Kind
from tests.unit.executor.outside import egress, serving
from webhooks import oauth2
from webhooks.oauth2 import Grant, TokenRefused, Tokens

KEY = ("01ARZ3NDEKTSV4RRFFQ69G5FAV", 1)


class TokenServer:
    """Gives a token for client credentials, a new one each time; answers as it is told."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[dict[str, list[str]]] = []
        self.clients: list[str | None] = []
        self.status = 200
        self.answer: Any = None
        self.more: dict[str, Any] = {"expires_in": 3600}
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        self.asked.append(parse_qs((await request.read()).decode()))
        self.clients.append(request.headers.get("Authorization"))
        count = len(self.asked)
        await self.goes_on.wait()
        if self.answer is not None:
            given = self.answer
            return web.Response(status=self.status, body=given) if isinstance(given, bytes) else self._json(given)
        return self._json({"access_token": f"token-{count}", "token_type": "Bearer"} | self.more)

    def _json(self, value: Any) -> web.Response:
        return web.json_response(value, status=self.status)

    def grant(self, **more: Any) -> Grant:
        return Grant(**{"token_url": self.url, "client_id": "me", "client_secret": "hunter2"} | more)


@asynccontextmanager
async def world() -> AsyncIterator[tuple[Tokens, TokenServer]]:
    server = TokenServer()
    async with serving(server) as port, egress() as out:
        server.url = f"http://127.0.0.1:{port}/oauth/token"
        tokens = Tokens(out)
        try:
            yield tokens, server
        finally:
            server.goes_on.set()
            await tokens.close()


async def refused(tokens: Tokens, grant: Grant, seconds: float = 5) -> str:
    with pytest.raises(TokenRefused) as caught:
        await tokens.token(KEY, grant, seconds)
    assert caught.value.kind is Kind.OAUTH2
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


async def test_a_token_is_asked_for_by_basic_and_kept() -> None:
    async with world() as (tokens, server):
        grant = server.grant(client_id="us er:", client_secret="pä+ss", scope="a b", audience="https://there")
        assert [await tokens.token(KEY, grant, 5) for _ in range(3)] == ["token-1"] * 3
    assert server.asked == [{"grant_type": ["client_credentials"], "scope": ["a b"], "audience": ["https://there"]}]
    (given,) = server.clients
    assert given is not None
    name, secret = base64.b64decode(given.removeprefix("Basic ")).decode().split(":")
    assert (unquote_plus(name), unquote_plus(secret)) == ("us er:", "pä+ss")


async def test_a_client_may_say_who_it_is_among_the_parameters() -> None:
    async with world() as (tokens, server):
        assert await tokens.token(KEY, server.grant(client_auth="body"), 5) == "token-1"
    assert server.asked == [{"grant_type": ["client_credentials"], "client_id": ["me"], "client_secret": ["hunter2"]}]
    assert server.clients == [None]


async def test_a_hundred_at_once_ask_once_and_another_key_for_itself() -> None:
    async with world() as (tokens, server):
        server.goes_on.clear()
        grant = server.grant()
        waiting = [asyncio.create_task(tokens.token(KEY, grant, 5)) for _ in range(100)]
        other = asyncio.create_task(tokens.token((KEY[0], 2), grant, 5))
        while len(server.asked) < 2:
            await asyncio.sleep(0.001)
        server.goes_on.set()
        assert set(await asyncio.gather(*waiting)) == {"token-1"}
        assert await other == "token-2"
    assert len(server.asked) == 2


async def test_who_is_cancelled_does_not_end_it_for_others() -> None:
    async with world() as (tokens, server):
        server.goes_on.clear()
        first, second = (asyncio.create_task(tokens.token(KEY, server.grant(), 5)) for _ in range(2))
        while not server.asked:
            await asyncio.sleep(0.001)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        server.goes_on.set()
        assert await second == "token-1"
    assert first.cancelled()
    assert len(server.asked) == 1


async def test_a_failure_is_everybodys_who_waited_and_is_not_kept() -> None:
    async with world() as (tokens, server):
        server.goes_on.clear()
        server.status, server.answer = 500, b"oops"
        waiting = [asyncio.create_task(tokens.token(KEY, server.grant(), 5)) for _ in range(10)]
        while not server.asked:
            await asyncio.sleep(0.001)
        server.goes_on.set()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(each, TokenRefused) for each in ended)
        server.status, server.answer = 200, None
        assert await tokens.token(KEY, server.grant(), 5) == "token-2"


async def test_a_token_is_forgotten_when_a_receiver_does_not_take_it() -> None:
    async with world() as (tokens, server):
        assert await tokens.token(KEY, server.grant(), 5) == "token-1"
        tokens.forget(KEY)
        assert await tokens.token(KEY, server.grant(), 5) == "token-2"
        tokens.forget(("nobody's", 1))


async def test_what_is_forgotten_while_it_is_asked_for_is_not_kept() -> None:
    async with world() as (tokens, server):
        server.goes_on.clear()
        first = asyncio.create_task(tokens.token(KEY, server.grant(), 5))
        while not server.asked:
            await asyncio.sleep(0.001)
        tokens.forget(KEY)
        server.goes_on.set()
        assert await first == "token-1"
        assert await tokens.token(KEY, server.grant(), 5) == "token-2"


@pytest.mark.parametrize(
    ("more", "holds"),
    [
        ({"expires_in": 0}, False),
        ({"expires_in": -5}, False),
        ({"expires_in": 3600}, True),
        ({"expires_in": "3600"}, True),
        ({"expires_in": None}, True),
        ({"expires_in": "soon"}, True),
        ({"expires_in": [1]}, True),
        ({"expires_in": 10**400}, True),
        ({}, True),
    ],
)
async def test_a_token_is_kept_for_as_long_as_it_says(more: dict[str, Any], holds: bool) -> None:
    async with world() as (tokens, server):
        server.more = more
        first, second = [await tokens.token(KEY, server.grant(), 5) for _ in range(2)]
    assert (first == second) is holds


async def test_a_token_is_used_no_more_some_time_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(oauth2, "monotonic", lambda: clock[0])
    async with world() as (tokens, server):

        async def given(at: float) -> str:
            clock[0] = at
            return await tokens.token(KEY, server.grant(), 5)

        assert [await given(at) for at in (1000, 4569, 4571)] == ["token-1", "token-1", "token-2"]
        tokens.forget(KEY)
        server.more = {}
        assert [await given(at) for at in (9000, 9269, 9271)] == ["token-3", "token-3", "token-4"]
        tokens.forget(KEY)
        server.more = {"expires_in": 1e300}
        assert [await given(at) for at in (20_000, 106_369, 106_371)] == ["token-5", "token-5", "token-6"]


async def test_no_more_are_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oauth2, "MOST_KEPT", 2)
    async with world() as (tokens, server):
        for version in (1, 2, 1, 3, 1, 2):
            await tokens.token((KEY[0], version), server.grant(), 5)
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (401, {"error": "invalid_client", "error_description": "hunter2"}, "answered 401 (invalid_client)"),
        (400, {"error": "invalid_scope"}, "answered 400 (invalid_scope)"),
        (400, {"error": "a\r\nb\x00é" + "x" * 500}, "answered 400 (a??b??" + "x" * 94 + ")"),
        (400, {"error": {"hunter2": 1}}, "answered 400"),
        (500, b"<html>hunter2</html>", "answered 500"),
        (302, b"", "answered 302"),
        (200, b"<html>hunter2</html>", "answered without an access_token that can be sent"),
        (200, b"\xff\xfe", "answered without an access_token that can be sent"),
        (200, [1], "answered without an access_token that can be sent"),
        (200, {"access_token": 7}, "answered without an access_token that can be sent"),
        (200, {"access_token": "hunter2\r\nX-Evil: 1"}, "answered without an access_token that can be sent"),
        (200, {"access_token": ""}, "answered without an access_token that can be sent"),
        (200, {"access_token": "t", "token_type": "mac"}, "answered with a token that is not of the type Bearer"),
    ],
)
async def test_what_is_no_token_is_said_without_what_was_answered(status: int, answer: Any, said: str) -> None:
    async with world() as (tokens, server):
        server.status, server.answer = status, answer
        assert await refused(tokens, server.grant()) == f"the token endpoint 127.0.0.1 {said}"


async def test_a_server_that_hangs_is_left_at_the_deadline() -> None:
    async with world() as (tokens, server):
        server.goes_on.clear()
        assert "within 0.1 s" in await refused(tokens, server.grant(), 0.1)


async def test_the_guard_holds_for_token_endpoints_too() -> None:
    async with world() as (tokens, server):
        assert "private" in await refused(tokens, server.grant(token_url="http://10.0.0.1/token"))
        assert "credentials" in await refused(tokens, server.grant(token_url="http://me:hunter2@example.com/token"))
        assert "not a URL" in await refused(tokens, server.grant(token_url="http://[hunter2"))


def test_a_grant_does_not_show_its_secret() -> None:
    assert "hunter2" not in repr(TokenServer().grant())
