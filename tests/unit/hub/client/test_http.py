from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub.client import (
    ApiError,
    AuthenticationFailed,
    ClientClosed,
    Conflict,
    HubFailed,
    InvalidRequest,
    Misused,
    NoEnvelope,
    NotFound,
    RateLimited,
    Unreachable,
    WorkflowClient,
)
from hub.client.http import pairs
from tests.unit.hub.client.scripted import CUT, Say, failure, scripted, success

KEY = "sk_test_" + "k" * 32
BUSY = failure(503, "SERVICE_UNAVAILABLE")
BROKEN = Say(500, b"Internal Server Error")
WORKFLOW = {"id": "w1", "name": "w", "status": "draft", "what_later_versions_say": 1}


def at_once() -> float:
    """The chance of a jitter that never waits."""
    return 0.0


def client(url: str, api_key: Any = KEY, **options: Any) -> WorkflowClient:
    return WorkflowClient(url, api_key, chance=at_once, **options)


@pytest.mark.parametrize("trouble", [CUT, BUSY, failure(502, "X"), failure(504, "X"), failure(429, "RATE"), BROKEN])
async def test_a_post_is_tried_again_under_one_key(trouble: Say) -> None:
    async with scripted(trouble, trouble, success(WORKFLOW)) as hub, client(hub.url) as runcast:
        assert (await runcast.workflows.create({"name": "w"})).id == "w1"
        first, second, third = hub.asked
        assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
        assert second.body == third.body == b'{"name":"w"}'
        await runcast.workflows.create({"name": "w"})
        assert hub.asked[3].headers["idempotency-key"] != first.headers["idempotency-key"]


async def test_a_key_of_the_caller_is_kept() -> None:
    async with scripted(success(WORKFLOW)) as hub, client(hub.url) as runcast:
        await runcast.workflows.create({"name": "w"}, idempotency_key="mine")
        assert hub.asked[0].headers["idempotency-key"] == "mine"


async def test_what_is_refused_is_not_tried_again_and_says_all_that_is_wrong() -> None:
    refused = failure(422, "VALIDATION_ERROR", "must be 1 to 10", "priority")
    async with scripted(refused) as hub, client(hub.url) as runcast:
        with pytest.raises(InvalidRequest) as error:
            await runcast.workflows.create({"name": "w"})
        assert len(hub.asked) == 1
        found = error.value
        assert (found.status, found.code, found.field, found.request_id) == (
            422,
            "VALIDATION_ERROR",
            "priority",
            "r1",
        )
        assert [problem.field for problem in found.errors] == ["priority"]
        assert str(found) == "422 VALIDATION_ERROR: must be 1 to 10"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, InvalidRequest), (401, AuthenticationFailed), (404, NotFound), (409, Conflict), (500, HubFailed)],
)
async def test_each_status_is_an_error_of_its_kind(status: int, kind: type[ApiError]) -> None:
    async with scripted(failure(status, "CODE")) as hub, client(hub.url) as runcast:
        with pytest.raises(kind):
            await runcast.workflows.get("w1")
        assert len(hub.asked) == 1


async def test_tries_are_bounded() -> None:
    async with scripted(BUSY) as hub, client(hub.url, retries=3) as runcast:
        with pytest.raises(HubFailed):
            await runcast.workflows.get("w1")
        assert len(hub.asked) == 4


async def test_a_longer_wait_than_the_bound_is_not_waited_for() -> None:
    async with scripted(failure(429, "RATE", Retry_After="3600")) as hub, client(hub.url) as runcast:
        with pytest.raises(RateLimited) as error:
            await runcast.workflows.get("w1")
        assert (error.value.retry_after, len(hub.asked)) == (3600.0, 1)


async def test_retry_after_is_waited_for() -> None:
    async with scripted(failure(503, "X", Retry_After="1"), success(WORKFLOW)) as hub, client(hub.url) as runcast:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await runcast.workflows.get("w1")
        assert loop.time() - begun >= 1.0
        assert len(hub.asked) == 2


async def test_a_key_whose_first_request_is_under_way_is_waited_for_but_only_after_a_lost_answer() -> None:
    under_way = failure(409, "RESOURCE_CONFLICT", "still being answered", "Idempotency-Key")
    async with scripted(CUT, under_way, success(WORKFLOW)) as hub, client(hub.url) as runcast:
        assert (await runcast.workflows.create({})).id == "w1"
    async with scripted(under_way) as hub, client(hub.url) as runcast:
        with pytest.raises(Conflict):
            await runcast.workflows.create({})
        assert len(hub.asked) == 1


async def test_a_deletion_whose_answer_was_lost_is_done() -> None:
    gone = failure(404, "RESOURCE_NOT_FOUND")
    async with scripted(CUT, gone) as hub, client(hub.url) as runcast:
        await runcast.workflows.delete("w1")
        with pytest.raises(NotFound):
            await runcast.workflows.delete("w1")
        assert len(hub.asked) == 3


async def test_what_is_no_hub_is_said_so() -> None:
    async with scripted(Say(200, b"<html>hello")) as hub, client(hub.url) as runcast:
        with pytest.raises(NoEnvelope, match="answered 200, and not as Runcast does"):
            await runcast.workflows.get("w1")
    async with client(hub.url, retries=1) as runcast:
        with pytest.raises(Unreachable, match="cannot be reached"):
            await runcast.workflows.get("w1")


async def test_redirects_are_not_followed() -> None:
    away = Say(307, b"", {"Location": "https://elsewhere.example"})
    async with scripted(away) as hub, client(hub.url) as runcast:
        with pytest.raises(NoEnvelope):
            await runcast.workflows.get("w1")


async def test_a_token_that_expired_is_renewed_once_for_all_who_need_it() -> None:
    given: list[str] = []

    async def fresh() -> str:
        given.append(f"token-{len(given)}")
        await asyncio.sleep(0)
        return given[-1]

    expired = failure(401, "AUTHENTICATION_ERROR")
    async with scripted(expired, success(WORKFLOW)) as hub, client(hub.url, fresh) as runcast:
        await runcast.workflows.get("w1")
        assert [asked.headers["authorization"] for asked in hub.asked] == ["Bearer token-0", "Bearer token-1"]
    async with scripted(expired) as hub, client(hub.url, fresh) as runcast:
        with pytest.raises(AuthenticationFailed):
            await runcast.workflows.get("w1")
        assert len(hub.asked) == 2


async def test_a_key_is_shown_nowhere() -> None:
    async with scripted(failure(401, "AUTHENTICATION_ERROR")) as hub, client(hub.url) as runcast:
        with pytest.raises(AuthenticationFailed) as error:
            await runcast.workflows.get("w1")
        assert hub.asked[0].headers["x-api-key"] == KEY
        assert KEY not in f"{runcast!r} {runcast.__dict__} {error.value!r} {hub.asked[0].path}"


async def test_ids_cannot_leave_their_place_in_the_path() -> None:
    async with scripted(success(WORKFLOW)) as hub, client(hub.url) as runcast:
        await runcast.workflows.get("../me?x=1")
        await runcast.workflows.get("..")
        assert [asked.path for asked in hub.asked] == [
            "/api/v1/workflows/..%2Fme%3Fx%3D1",
            "/api/v1/workflows/%2E%2E",
        ]
        with pytest.raises(Misused, match="an id is empty"):
            await runcast.workflows.get("")


async def test_a_closed_client_says_so() -> None:
    runcast = client("http://127.0.0.1:1")
    await runcast.aclose()
    await runcast.aclose()
    with pytest.raises(ClientClosed):
        await runcast.workflows.get("w1")


async def test_a_list_is_its_first_page_or_all_of_them() -> None:
    first = success([{"id": "a"}, {"id": "b"}], has_more=True, next_cursor="c1", total_count=3)
    last = success([{"id": "c"}], has_more=False)
    async with scripted(first, last, first) as hub, client(hub.url) as runcast:
        assert [each.id async for each in runcast.workflows.list(tags=["x", "y"], offset=None)] == ["a", "b", "c"]
        page = await runcast.workflows.list(limit=2)
        assert ([each.id for each in page], len(page), page[0].id, page.metadata.total_count) == (
            ["a", "b"],
            2,
            "a",
            3,
        )
        assert [asked.path.partition("?")[2] for asked in hub.asked] == ["tags=x,y", "tags=x,y&cursor=c1", "limit=2"]


def test_a_query_is_written_as_the_hub_reads_it() -> None:
    assert pairs({"a": None, "b": True, "c": ["x", "y"], "d": 5, "e": []}) == [
        ("b", "true"),
        ("c", "x,y"),
        ("d", "5"),
    ]
