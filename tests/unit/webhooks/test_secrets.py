from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from executor.domain.events.webhook import EndpointAuthentication, EndpointFilters, RetiredSecret, WebhookCreated
from executor.domain.values import Instant, RetryPolicy
from executor.sealing import Sealer, SecretKey, Unsealable
from tests.unit.executor.test_sealing import Ledger
from tests.unit.webhooks.given import ID, after, endpoint
from webhooks.endpoint import DEFAULT_POLICY, EndpointChange, State, initial
from webhooks.requests import UpdateWebhook
from webhooks.secrets import EndpointSecrets
from webhooks.signing import new_secret, public_key

ORGANIZATION = "01ARZ3NDEKTSV4RRFFQ69G5FAW"
NOW = Instant("2026-01-31T12:00:00.000Z")


@pytest.fixture
def secrets() -> EndpointSecrets:
    key = SecretKey.from_text("k")
    return EndpointSecrets(Sealer(key, Ledger(key)))


async def sealed(secrets: EndpointSecrets, secret: str | None = None, **body: Any) -> EndpointChange:
    return await secrets.sealed(ORGANIZATION, ID, msgspec.convert(body, UpdateWebhook), secret)


def with_(**fields: Any) -> State:
    return after(WebhookCreated(endpoint=endpoint(**fields)))


async def test_what_is_sealed_comes_out_as_headers_and_keys(secrets: EndpointSecrets) -> None:
    change = await sealed(
        secrets, "the secret", headers={"X-Key": "v"}, authentication={"type": "bearer", "token": "t0k"}
    )
    assert "the secret" not in str(change)
    assert "t0k" not in str(change)
    opened = await secrets.opened(with_(**change.given()), NOW)
    assert opened.secrets == ("the secret",)
    assert opened.headers == {"X-Key": "v", "Authorization": "Bearer t0k"}
    assert "the secret" not in repr(opened)


async def test_while_a_secret_replaces_another_both_are_opened(secrets: EndpointSecrets) -> None:
    old, new = await sealed(secrets, "old"), await sealed(secrets, "new")
    state = with_(
        sealed_secret=new.sealed_secret,
        retired=(RetiredSecret(sealed=old.sealed_secret, expires_at=Instant("2026-01-31T12:00:01.000Z")),),
    )
    assert (await secrets.opened(state, NOW)).secrets == ("new", "old")
    assert (await secrets.opened(state, Instant("2026-01-31T12:00:01.000Z"))).secrets == ("new",)


async def test_a_text_does_not_open_at_another_endpoint_or_in_another_place(secrets: EndpointSecrets) -> None:
    change = await sealed(secrets, "s", headers={"X-Key": "v"})
    moved = {"X-Other": change.given()["sealed_headers"]["X-Key"]}
    with pytest.raises(Unsealable):
        await secrets.opened(with_(sealed_secret=change.sealed_secret, sealed_headers=moved), NOW)
    elsewhere = msgspec.structs.replace(with_(sealed_secret=change.sealed_secret), id=ORGANIZATION)
    with pytest.raises(Unsealable):
        await secrets.opened(elsewhere, NOW)


async def test_what_is_left_out_stays_and_null_is_the_default(secrets: EndpointSecrets) -> None:
    assert (await sealed(secrets)).given() == {}
    cleared = await sealed(
        secrets,
        description=None,
        filters=None,
        authentication=None,
        headers=None,
        timeout_seconds=None,
        retry_policy=None,
        max_in_flight=None,
        rate_limit_per_second=None,
        metadata=None,
    )
    assert cleared.given() == {
        "description": None,
        "filters": EndpointFilters(),
        "authentication": EndpointAuthentication(),
        "sealed_headers": {},
        "timeout_seconds": 15.0,
        "retry_policy": DEFAULT_POLICY,
        "max_in_flight": 10,
        "rate_limit_per_second": None,
        "metadata": {},
    }


async def test_redacted_is_never_sealed(secrets: EndpointSecrets) -> None:
    change = await sealed(
        secrets,
        "[REDACTED]",
        headers={"X-Key": "[REDACTED]"},
        authentication={"type": "basic", "username": "u", "password": "[REDACTED]"},
    )
    assert change.sealed_secret is UNSET
    assert change.sealed_headers == {"X-Key": "[REDACTED]"}
    assert change.authentication == EndpointAuthentication(type="basic", name="u", sealed="[REDACTED]")


async def test_priority_words_become_numbers_and_policies_plain_ones(secrets: EndpointSecrets) -> None:
    change = await sealed(
        secrets,
        filters={"priority_levels": ["low", "normal", 5, "urgent", 10], "workflow_ids": ["w"]},
        retry_policy={"max_attempts": 3},
    )
    assert change.filters == EndpointFilters(workflow_ids=("w",), priority_levels=(3, 5, 10))
    assert change.retry_policy == RetryPolicy(max_attempts=3)


async def test_what_was_never_created_has_no_secrets(secrets: EndpointSecrets) -> None:
    with pytest.raises(ValueError, match="never created"):
        await secrets.opened(initial(), NOW)


async def test_a_secret_says_how_it_signs(secrets: EndpointSecrets) -> None:
    private = new_secret("ed25519")
    change = await sealed(secrets, private)
    assert (change.signing, change.public_key) == ("ed25519", public_key(private))
    shared = await sealed(secrets, "text")
    assert (shared.signing, shared.public_key) == ("hmac", None)
    state = with_(**change.given())
    assert await secrets.is_newest(state, private)
    assert not await secrets.is_newest(state, new_secret("ed25519"))
    assert not await secrets.is_newest(msgspec.structs.replace(state, id=ORGANIZATION), private), "it does not open"


async def test_what_a_token_is_asked_with_is_no_header(secrets: EndpointSecrets) -> None:
    change = await sealed(
        secrets,
        "s",
        authentication={"type": "oauth2", "token_url": "https://t", "client_id": "me", "client_secret": "hunter2"},
    )
    assert "hunter2" not in str(change)
    opened = await secrets.opened(with_(**change.given()), NOW)
    assert (opened.headers, opened.client_secret) == ({}, "hunter2")
