from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from executor.domain.errors import Invalid
from executor.domain.events.webhook import EndpointAuthentication
from executor.egress import Egress
from executor.shapes import Shape
from tests.unit.webhooks.given import endpoint
from webhooks.checks import check
from webhooks.requests import CreateWebhook, UpdateWebhook
from webhooks.signing import new_secret

URL = "https://93.184.215.14/hook"
GOOD: dict[str, Any] = {"url": URL, "events": ["execution.*"]}
REDACTED = "[REDACTED]"
OAUTH2 = {"type": "oauth2", "token_url": "https://93.184.215.14/token", "client_id": "me", "client_secret": "s"}


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    made = Egress()
    yield made
    await made.close()


async def problems(egress: Egress, body: dict[str, Any], stored: Any = None) -> dict[str, str]:
    kind = CreateWebhook if stored is None else UpdateWebhook
    found = await check(msgspec.convert(body, kind), egress, stored)
    return {str(problem.field): problem.message for problem in found}


def shape_problems(body: dict[str, Any]) -> list[str | None]:
    with pytest.raises(Invalid) as caught:
        Shape(CreateWebhook).parse(body)
    return [problem.field for problem in caught.value.problems]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"secret": "your-webhook-secret"},
        {"secret": "x"},
        {"secret": new_secret()},
        {"description": None, "filters": None, "headers": None, "authentication": None, "retry_policy": None},
        {"retry_policy": {"max_attempts": 3, "initial_delay_seconds": 60, "max_delay_seconds": 3600}},
        {"filters": {"priority_levels": ["low", 9], "condition": "data.execution.priority > 5"}},
        {"authentication": {"type": "none"}},
        {"authentication": {"type": "bearer", "token": "t"}, "headers": {"X-Team": "ops"}},
        {"authentication": {"type": "basic", "username": "u", "password": ""}},
        {"authentication": {"type": "header", "name": "X-Key", "value": "v"}},
        {"headers": {"Authorization": "Custom x"}},
        {"authentication": OAUTH2 | {"scope": "a b", "audience": "https://api", "client_auth": "body"}},
        {"signing": "ed25519"},
        {"signing": "ed25519", "secret": new_secret("ed25519")},
        {"rate_limit_per_second": 0.01, "metadata": {"team": {"name": "ops", "ids": [1, 2]}}},
        {"signing": "hmac", "rate_limit_per_second": None, "timeout_seconds": 1, "max_in_flight": 1000},
    ],
)
async def test_what_the_contract_offers_is_taken(egress: Egress, more: dict[str, Any]) -> None:
    assert await problems(egress, GOOD | more) == {}


def test_everything_that_is_wrong_with_the_shape_comes_at_once() -> None:
    body = {
        "url": 1,
        "events": [],
        "priority": 1,
        "filters": {"priority_levels": [0, 11, "extreme"]},
        "timeout_seconds": 61,
        "retry_policy": {"max_attempts": 0},
        "max_in_flight": 0,
        "signing": "rsa",
    }
    assert sorted(map(str, shape_problems(body))) == [
        "events",
        "filters.priority_levels[0]",
        "filters.priority_levels[1]",
        "filters.priority_levels[2]",
        "max_in_flight",
        "priority",
        "retry_policy.max_attempts",
        "signing",
        "timeout_seconds",
        "url",
    ]
    assert shape_problems({}) == ["url", "events"]


async def test_everything_else_that_is_wrong_comes_at_once_too(egress: Egress) -> None:
    found = await problems(
        egress,
        {
            "url": "http://user:pw@169.254.169.254/",
            "events": ["execution.*", "nothing.happened"],
            "secret": "whsec_short",
            "filters": {"condition": "data.execution."},
            "authentication": {"type": "basic", "username": "a:b"},
            "headers": {
                "Webhook-Id": "x",
                "Content-Type": "x",
                "X-A": "1",
                "x-a": "2",
                "X-Bad\n": "x",
                "X-Line": "\n",
            },
            "metadata": {"x": "y" * 16_384},
        },
    )
    assert set(found) == {
        "url",
        "events[1]",
        "secret",
        "filters.condition",
        "authentication.username",
        "authentication.password",
        "headers.Webhook-Id",
        "headers.Content-Type",
        "headers.x-a",
        "headers.X-Bad\n",
        "headers.X-Line",
        "metadata",
    }


@pytest.mark.parametrize(
    ("authentication", "field"),
    [
        ({"type": "bearer"}, "authentication.token"),
        ({"type": "bearer", "token": "line\nbreak"}, "authentication.token"),
        ({"type": "bearer", "token": "t", "password": "p"}, "authentication.password"),
        ({"type": "none", "token": "t"}, "authentication.token"),
        ({"type": "header", "name": "X-Key"}, "authentication.value"),
        ({"type": "header", "name": "webhook-signature", "value": "v"}, "authentication.name"),
        ({"type": "header", "name": "X Key", "value": "v"}, "authentication.name"),
        (OAUTH2 | {"token_url": "http://10.0.0.1/token"}, "authentication.token_url"),
        (OAUTH2 | {"token_url": "https://me:pw@93.184.215.14/"}, "authentication.token_url"),
        (OAUTH2 | {"token": "t"}, "authentication.token"),
        (OAUTH2 | {"client_secret": REDACTED}, "authentication.client_secret"),
        ({name: value for name, value in OAUTH2.items() if name != "client_id"}, "authentication.client_id"),
        ({"type": "bearer", "token": "t", "scope": "s"}, "authentication.scope"),
        ({"type": "bearer", "token": REDACTED}, "authentication.token"),
    ],
)
async def test_authentication_says_what_it_lacks(egress: Egress, authentication: dict[str, str], field: str) -> None:
    assert set(await problems(egress, GOOD | {"authentication": authentication})) == {field}


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "host",
        "User-Agent",
        "Connection",
        "Transfer-Encoding",
        "Content-Length",
        "X-Webhook-Event",
        "Idempotency-Key",
    ],
)
async def test_our_headers_are_not_to_be_set(egress: Egress, name: str) -> None:
    assert set(await problems(egress, GOOD | {"headers": {name: "x"}})) == {f"headers.{name}"}


async def test_a_header_is_set_in_one_place(egress: Egress) -> None:
    body = GOOD | {"authentication": {"type": "bearer", "token": "t"}, "headers": {"authorization": "x"}}
    assert set(await problems(egress, body)) == {"headers"}


@pytest.mark.parametrize("size", [23, 65])
async def test_a_standard_secret_has_24_to_64_bytes(egress: Egress, size: int) -> None:
    secret = "whsec_" + base64.b64encode(bytes(size)).decode()
    assert set(await problems(egress, GOOD | {"secret": secret})) == {"secret"}


@pytest.mark.parametrize(
    ("signing", "secret"),
    [
        ("hmac", new_secret("ed25519")),
        ("hmac", "whsk_text"),
        ("ed25519", new_secret()),
        ("ed25519", "text"),
        ("ed25519", "whsk_AAAA"),
    ],
    ids=["hmac-key", "hmac-text", "ed25519-secret", "ed25519-text", "ed25519-short"],
)
async def test_a_secret_goes_with_its_way_of_signing(egress: Egress, signing: str, secret: str) -> None:
    other = "hmac" if signing == "ed25519" else "ed25519"
    assert set(await problems(egress, GOOD | {"signing": signing, "secret": secret})) == {"secret"}
    assert set(await problems(egress, {"secret": secret}, endpoint(signing=signing))) == {"secret"}
    assert set(await problems(egress, {"signing": signing, "secret": secret}, endpoint(signing=other))) == {"secret"}
    assert set(await problems(egress, {"signing": signing, "secret": REDACTED}, endpoint(signing=other))) == {
        "secret"
    }


@pytest.mark.parametrize("metadata", [{"k" * 129: 1}, {"": 1}, ["a"], "text"])
def test_metadata_is_an_object_with_keys_of_some_length(metadata: Any) -> None:
    (field,) = shape_problems(GOOD | {"metadata": metadata})
    assert str(field).startswith("metadata")


@pytest.mark.parametrize("rate", [0, 0.009, 10_001, "1"])
def test_a_rate_has_its_bounds(rate: Any) -> None:
    assert shape_problems(GOOD | {"rate_limit_per_second": rate}) == ["rate_limit_per_second"]


async def test_redacted_keeps_only_what_is_stored(egress: Egress) -> None:
    body = {
        "secret": REDACTED,
        "headers": {"x-key": REDACTED, "X-New": REDACTED},
        "authentication": {"type": "bearer", "token": REDACTED},
    }
    stored = endpoint(
        sealed_headers={"X-Key": "sealed:v1:K"}, authentication=EndpointAuthentication(type="bearer", sealed="s")
    )
    assert set(await problems(egress, body, stored)) == {"headers.X-New"}
    assert set(await problems(egress, body, endpoint())) == {
        "headers.x-key",
        "headers.X-New",
        "authentication.token",
    }
    assert set(await problems(egress, GOOD | {"secret": REDACTED})) == {"secret"}


async def test_no_problem_shows_a_secret(egress: Egress) -> None:
    found = await problems(
        egress,
        GOOD
        | {
            "secret": "whsec_hunter2",
            "headers": {"X-Key": "hunter2\n"},
            "authentication": {"type": "basic", "username": "u", "token": "hunter2\n"},
        },
    )
    assert found
    assert "hunter2" not in str(found)


def test_a_policy_has_twelve_attempts_unless_said() -> None:
    made = msgspec.convert(GOOD | {"retry_policy": {"initial_delay_seconds": 1}}, CreateWebhook)
    assert made.retry_policy.max_attempts == 12  # type: ignore[union-attr]
